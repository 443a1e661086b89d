"""The few values that travel between the rooms of the house.

All are frozen, checked when made, and free of arrays where a table row is meant: filters flow beside
them, in blocks, so that memory stays flat however large a model or a zoo is.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

Filters = NDArray[np.float32]
"""Rows of flattened kernels: n x (kernel height * kernel width)."""

WeightArray = NDArray[np.float32]
"""The weight of a 2-D convolution: out x in x kernel height x kernel width."""

_PUBLISHED_RANGE = re.compile(r"(\d+):(\d+)")
_KERNEL = re.compile(r"(\d+)x(\d+)")


@dataclass(frozen=True, slots=True, order=True)
class RowRange:
    """The rows of ``/filter`` that one record owns: the one rule that joins ``/meta`` to ``/filter``.

    Parameters
    ----------
    start
        First row.
    stop
        One past the last row.
    """

    start: int
    stop: int

    def __post_init__(self) -> None:
        if not 0 <= self.start < self.stop:
            raise ValueError(f"a row range needs 0 <= start < stop, got {self.start}:{self.stop}")

    def __len__(self) -> int:
        return self.stop - self.start

    @property
    def slice(self) -> slice:
        """The range as a Python slice."""
        return slice(self.start, self.stop)

    @property
    def published(self) -> str:
        """The range as the published files write it: ``"start:end"`` with the end included."""
        return f"{self.start}:{self.stop - 1}"

    @classmethod
    def from_published(cls, text: str) -> RowRange:
        """Read a ``filter_ids`` cell, whose end is included."""
        match = _PUBLISHED_RANGE.fullmatch(text)
        if match is None:
            raise ValueError(f"filter_ids must look like '0:63', got {text!r}")
        return cls(int(match[1]), int(match[2]) + 1)


@dataclass(frozen=True, slots=True, order=True)
class Kernel:
    """Height and width of the kernels that a data set holds."""

    height: int
    width: int

    def __post_init__(self) -> None:
        if not (1 <= self.height <= 1024 and 1 <= self.width <= 1024):
            raise ValueError(f"a kernel is between 1x1 and 1024x1024, got {self}")

    def __str__(self) -> str:
        return f"{self.height}x{self.width}"

    @property
    def size(self) -> int:
        """Values of one filter: the width of ``/filter``."""
        return self.height * self.width

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width, as numpy writes them."""
        return (self.height, self.width)

    @classmethod
    def parse(cls, text: str) -> Kernel:
        """Read ``"3x3"``."""
        match = _KERNEL.fullmatch(text.strip().lower())
        if match is None:
            raise ValueError(f"a kernel is written like 3x3, got {text!r}")
        return cls(int(match[1]), int(match[2]))


class FileStamp(NamedTuple):
    """What changes when a file does: its size, time of change and place on the disk."""

    size: int
    mtime_ns: int
    inode: int

    @classmethod
    def of(cls, info: os.stat_result) -> FileStamp:
        """Return the stamp of what the system knows of a file."""
        return cls(info.st_size, info.st_mtime_ns, info.st_ino)


Stamps: TypeAlias = tuple[tuple[str, FileStamp], ...]
"""The state of each file of a model when it was read, by location; the model file's own is empty."""


def still_hold(stamps: Stamps, path: Path) -> bool:
    """Tell whether the files of a model are those that were read, as far as the file system knows.

    Parameters
    ----------
    stamps
        What they were like.
    path
        The model file.
    """
    try:
        return all(
            FileStamp.of((path.parent / location if location else path).stat()) == stamp
            for location, stamp in stamps
        )
    except OSError:
        return False


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a layer's filters lie in a file, byte for byte as a data set holds them.

    Parameters
    ----------
    location
        The external file relative to the model's folder; empty for the model file itself.
    offset
        First byte.
    """

    location: str
    offset: int


@dataclass(frozen=True, slots=True)
class ModelSource:
    """One ``.onnx`` file of a zoo.

    Parameters
    ----------
    name
        The name it has in the data set: its file stem, or with folders where stems collide.
    path
        Where the file is on this machine.
    relpath
        Where it is within its zoo, with forward slashes; the only path that a data set keeps.
    """

    name: str
    path: Path
    relpath: str


@dataclass(frozen=True, slots=True)
class ConvLayer:
    """One convolution layer whose filters were extracted: one record, without its filters.

    Parameters
    ----------
    name
        Unique within the model; see ``docs/file-format.md`` on ``layer_name``.
    op_type
        The operator as the graph names it.
    conv_depth, conv_depth_norm
        Index of the layer's depth among the model's depths that hold a 2-D convolution, and that index
        scaled to 0 ... 1.
    out_channels, in_channels
        The first two dimensions of the weight; their product is the number of filters.
    group, strides, dilations
        Attributes of the convolution.
    depthwise
        One filter an output channel, and as many groups as input channels.
    weight_dtype
        The type of the values as stored, before any conversion.
    weight_source
        How the weight reaches the convolution, such as ``"initializer"`` or
        ``"DequantizeLinear < initializer"``.
    bn_follows
        A batch normalization is the only consumer of the convolution's result.
    nonfinite
        How many of the weight's values are NaN or infinite.
    weights_sha256
        Hash of the filters as stored: little-endian float32, row-major.
    """

    name: str
    op_type: str
    conv_depth: int
    conv_depth_norm: float
    out_channels: int
    in_channels: int
    group: int
    depthwise: bool
    strides: tuple[int, ...]
    dilations: tuple[int, ...]
    weight_dtype: str
    weight_source: str
    bn_follows: bool
    nonfinite: int
    weights_sha256: str

    def __post_init__(self) -> None:
        if self.out_channels < 1 or self.in_channels < 1:
            raise ValueError(f"{self.name}: a layer holds at least one filter")

    @property
    def n_filters(self) -> int:
        """Number of filters of the layer."""
        return self.out_channels * self.in_channels


@dataclass(frozen=True, slots=True)
class SkippedLayer:
    """A convolution that gave no record, and why.

    Parameters
    ----------
    name, op_type
        As for :class:`ConvLayer`.
    kernel
        Kernel shape such as ``"1x1"``, or ``"?"`` where it is not known.
    reason
        Why there is no record.
    """

    name: str
    op_type: str
    kernel: str
    reason: str


@dataclass(frozen=True, slots=True)
class ModelRecord:
    """What one ONNX file holds, apart from the filters themselves.

    Nothing in it depends on where the file lies, what it is called or when it was read, so that a record
    can be kept and reused by ``sha256`` alone.

    Parameters
    ----------
    sha256
        Hash of the file; with external data, of the file and every file it refers to.
    size
        Bytes of the file and its external data.
    producer
        ``"name version"``.
    ir_version, op_set
        Versions of the format and of the default operator set; 0 where the file does not say.
    depth
        Nodes on the longest path.
    layers
        Records in order of (depth, place in the graph).
    skipped
        Convolutions without a record.
    ops, other_ops
        Nodes by operator, of the standard domain and of all others (``"domain::Operator"``).
    kernels
        Filters by kernel shape, such as ``{"(3, 3)": 64}``, over all 2-D convolutions with weights.
    notes
        What a careful reader should know, such as the checker's complaint.
    """

    sha256: str
    size: int
    producer: str
    ir_version: int
    op_set: int
    depth: int
    layers: tuple[ConvLayer, ...] = ()
    skipped: tuple[SkippedLayer, ...] = ()
    ops: Mapping[str, int] = field(default_factory=dict)
    other_ops: Mapping[str, int] = field(default_factory=dict)
    kernels: Mapping[str, int] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    @property
    def n_filters(self) -> int:
        """Number of filters extracted."""
        return sum(layer.n_filters for layer in self.layers)

    @property
    def total_filters(self) -> int:
        """Filters of all 2-D kernel shapes but 1x1: the reference's rule."""
        return sum(count for shape, count in self.kernels.items() if shape != "(1, 1)")

    def to_json(self) -> dict[str, Any]:
        """Return the record as plain containers."""
        # Far faster than dataclasses.asdict, which copies every value.
        data = {name: getattr(self, name) for name in self.__slots__}
        data["layers"] = [{name: getattr(row, name) for name in row.__slots__} for row in self.layers]
        data["skipped"] = [{name: getattr(row, name) for name in row.__slots__} for row in self.skipped]
        for name in ("ops", "other_ops", "kernels"):
            data[name] = dict(data[name])
        return data

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> ModelRecord:
        """Rebuild a record from :meth:`to_json`."""
        layers = tuple(
            ConvLayer(**{**row, "strides": tuple(row["strides"]), "dilations": tuple(row["dilations"])})
            for row in data["layers"]
        )
        skipped = tuple(SkippedLayer(**row) for row in data["skipped"])
        return cls(**{**data, "layers": layers, "skipped": skipped, "notes": tuple(data["notes"])})
