"""One probe in this process, ours or a rival's, timed after loading; for the environment of the oracles."""

from __future__ import annotations

import argparse
import json
import logging
import os
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np


def our_cka(folder: Path, rows: int, batch: int, threads: int) -> Callable[[], Any]:
    from filterdb.probe import cka

    data = np.load(folder / "images.npy")[:rows]
    paths = folder / "plain20.onnx", folder / "resnet20.onnx"
    # In order, so that the batches are those of the rival.
    return lambda: cka(*paths, data=data, batch=batch, threads=threads, shuffle=False).values.tolist()


def our_saturation(folder: Path, rows: int, batch: int, threads: int) -> Callable[[], Any]:
    from filterdb.probe import saturation

    data, path = np.load(folder / "images.npy")[-rows:], folder / "resnet20.onnx"

    def work() -> list[float]:
        found = saturation(path, data=data, batch=batch, threads=threads, rule="delve")
        return [layer.saturation for layer in found.layers]

    return work


def torch_cka(
    folder: Path, rows: int, batch: int, threads: int, *, double: bool = False
) -> Callable[[], Any]:
    """As its README says; of its options, only the layers."""
    import torch
    from torch.utils.data import DataLoader, TensorDataset
    from torch_cka import CKA

    from benchmarks.twins import layers, twin

    torch.set_num_threads(threads)
    models, data = (
        [twin("plain20"), twin("resnet20")],
        torch.from_numpy(np.load(folder / "images.npy")[:rows]),
    )
    if double:
        torch.set_default_dtype(torch.float64)
        models, data = [model.double() for model in models], data.double()
    names = [layers(model) for model in models]
    loader = DataLoader(TensorDataset(data), batch_size=batch, drop_last=True)

    def work() -> list[list[float]]:
        with torch.no_grad():
            compared = CKA(*models, "plain20", "resnet20", *names, device="cpu")
            compared.compare(loader)
        found: list[list[float]] = compared.export()["CKA"].tolist()
        return found

    return work


def delve(folder: Path, rows: int, batch: int, threads: int) -> Callable[[], Any]:
    """As its README says; of its figures only the saturation, and of its files only a table."""
    import torch
    from delve import SaturationTracker
    from torch.utils.data import DataLoader, TensorDataset

    from benchmarks.twins import twin

    logging.disable()
    torch.set_num_threads(threads)
    model, data = twin("resnet20"), torch.from_numpy(np.load(folder / "images.npy")[-rows:])
    loader = DataLoader(TensorDataset(data), batch_size=batch)
    out = tempfile.mkdtemp(dir=folder)

    def work() -> list[float]:
        tracker = SaturationTracker(out, save_to="csv", modules=model, device="cpu")
        with torch.no_grad():
            for (part,) in loader:
                model(part)
        tracker.add_saturations()
        tracker.close()
        return [values[-1] for values in tracker.writer.value_dict.values()]

    return work


def delve_at_once(folder: Path, rows: int, _batch: int, threads: int) -> Callable[[], Any]:
    return delve(folder, rows, rows, threads)


def torch_cka_double(folder: Path, rows: int, batch: int, threads: int) -> Callable[[], Any]:
    return torch_cka(folder, rows, batch, threads, double=True)


CONTENDERS = {
    "our_cka": our_cka,
    "torch_cka": torch_cka,
    "torch_cka_double": torch_cka_double,
    "our_saturation": our_saturation,
    "delve": delve,
    "delve_at_once": delve_at_once,
}


def make(folder: Path) -> None:
    """Write the models and the images."""
    from benchmarks.twins import SEEDS, export, images, twin

    folder.mkdir(parents=True, exist_ok=True)
    np.save(folder / "images.npy", images())
    for name in SEEDS:
        export(twin(name), folder / f"{name}.onnx")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=["make", *CONTENDERS])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--rows", type=int, default=2000)
    parser.add_argument("--batch", type=int, default=250)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    if options.what == "make":
        make(options.folder)
        return
    work = CONTENDERS[options.what](options.folder, options.rows, options.batch, options.threads)
    begun, before = time.perf_counter(), os.times()
    values = work()
    seconds, after = time.perf_counter() - begun, os.times()
    processor = after.user + after.system - before.user - before.system
    print(json.dumps({"seconds": seconds, "processor": processor, "values": values}))


if __name__ == "__main__":
    main()
