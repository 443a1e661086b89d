"""The rival of the extraction benchmark: the loop that a person writes who needs the filters once.

It loads each model with onnx, takes each 3x3 initializer of a convolution, and appends it to an HDF5
file. It resolves nothing, checks nothing and writes no table. With a third argument, the file is on the
disk when the loop ends, not only in the system's memory.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import h5py
import onnx
from onnx import numpy_helper


def main(zoo: Path, out: Path, *, durable: bool) -> None:
    with h5py.File(out, "w") as file:
        dataset = file.create_dataset("filter", (0, 9), "f4", maxshape=(None, 9), chunks=(65_536, 9))
        for path in sorted(zoo.rglob("*.onnx")):
            model = onnx.load(path)
            initializers = {tensor.name: tensor for tensor in model.graph.initializer}
            for node in model.graph.node:
                if node.op_type == "Conv" and node.input[1] in initializers:
                    weight = numpy_helper.to_array(initializers[node.input[1]])
                    if weight.shape[2:] == (3, 3):
                        filters = weight.reshape(-1, 9)
                        rows = dataset.shape[0]
                        dataset.resize(rows + len(filters), axis=0)
                        dataset[rows:] = filters
    if durable:
        with out.open("rb+") as written:
            os.fsync(written.fileno())


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), durable=len(sys.argv) > 3)
