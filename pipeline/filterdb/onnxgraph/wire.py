"""The protobuf wire format, as far as it takes to leave weights where they are.

`slim` copies a serialized model without its large tensors: their bytes are replaced by a short token, and
where they lie in the file is noted. What remains is small enough to parse, whatever the model weighs.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field

LARGE = 4096
_NESTING = 100
_DROP = "drop"
_BYTES = "bytes"
_RAW_DATA = 9
# Which fields of which message can hold a weight, however deep. Packed floats and doubles are laid out as
# raw_data is, and training_info holds a second graph that nothing here reads.
_FIELDS: Mapping[str, Mapping[int, str]] = {
    "model": {7: "graph", 20: _DROP, 25: "function"},
    "graph": {1: "node", 5: "tensor", 15: "sparse"},
    "function": {7: "node", 11: "attribute"},
    "node": {5: "attribute"},
    "attribute": {5: "tensor", 6: "graph", 10: "tensor", 11: "graph", 22: "sparse", 23: "sparse"},
    "sparse": {1: "tensor", 2: "tensor"},
    "tensor": {4: _BYTES, _RAW_DATA: _BYTES, 10: _BYTES},
}


class WireError(Exception):
    """The bytes do not follow the wire format as this module knows it."""


class TruncatedError(WireError):
    """A field runs past the end of the message that holds it."""


class NestingError(WireError):
    """Messages are nested deeper than protobuf itself accepts."""


@dataclass(frozen=True, slots=True)
class Span:
    """Bytes of the model file."""

    start: int
    length: int


@dataclass(slots=True)
class Blobs:
    """The tensors that were left in the file, by the token that stands for them.

    The token carries random bytes, so that no file can hold one that means something.
    """

    nonce: bytes = field(default_factory=lambda: os.urandom(24))
    spans: list[Span] = field(default_factory=list)

    def add(self, start: int, length: int) -> bytes:
        """Note where a tensor lies and return its token."""
        self.spans.append(Span(start, length))
        return self.nonce + (len(self.spans) - 1).to_bytes(8, "little")

    def find(self, raw: bytes) -> Span | None:
        """Return where the bytes are that a token stands for, or None for anything else."""
        if len(raw) != len(self.nonce) + 8 or not raw.startswith(self.nonce):
            return None
        return self.spans[int.from_bytes(raw[len(self.nonce) :], "little")]


def slim(data: memoryview, blobs: Blobs, *, large: int = LARGE) -> bytes:
    """Copy a serialized model without its large tensors.

    Parameters
    ----------
    data
        The whole file.
    blobs
        Receives where the tensors are.
    large
        Messages up to this length are copied as they are, whatever they hold.

    Raises
    ------
    WireError
        If the bytes are no sequence of protobuf fields.
    """
    return b"".join(_Walk(data, blobs, large).copy("model", 0, len(data), 0))


@dataclass(slots=True)
class _Walk:
    data: memoryview
    blobs: Blobs
    large: int

    def copy(self, kind: str, start: int, end: int, depth: int) -> list[bytes | memoryview]:
        if depth > _NESTING:
            raise NestingError(f"messages are nested more than {_NESTING} deep")
        fields = _FIELDS[kind]
        pieces: list[bytes | memoryview] = []
        kept = at = start
        while at < end:
            tag = at
            key, at = self._varint(at, end)
            number, wire = key >> 3, key & 7
            if wire == 2:
                length, at = self._varint(at, end)
                if length > end - at:
                    raise TruncatedError(
                        f"the {kind} at byte {start} holds a field of {length} bytes at byte {at},"
                        f" but ends after {end - at} of them"
                    )
                child = fields.get(number)
                if child is not None and length > self.large:
                    pieces.append(self.data[kept:tag])
                    pieces += self._child(child, number, at, at + length, depth)
                    kept = at + length
                at += length
            else:
                at = self._skip(wire, at, end)
        pieces.append(self.data[kept:end])
        return pieces

    def _child(self, kind: str, number: int, start: int, end: int, depth: int) -> list[bytes | memoryview]:
        if kind == _DROP:
            return []
        if kind == _BYTES:
            token = self.blobs.add(start, end - start)
            return [_key(_RAW_DATA), _encode(len(token)), token]
        body = self.copy(kind, start, end, depth + 1)
        return [_key(number), _encode(sum(map(len, body))), *body]

    def _skip(self, wire: int, at: int, end: int) -> int:
        if wire == 0:
            return self._varint(at, end)[1]
        if wire not in (1, 5):
            raise WireError(f"wire type {wire} at byte {at}")
        at += 8 if wire == 1 else 4
        if at > end:
            raise TruncatedError(f"a number at byte {at} runs past the end of its message")
        return at

    def _varint(self, at: int, end: int) -> tuple[int, int]:
        value = shift = 0
        data = self.data
        while at < end:
            byte = data[at]
            at += 1
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                return value, at
            shift += 7
            if shift > 63:
                raise WireError(f"a number at byte {at} is longer than ten bytes")
        raise TruncatedError(f"a number at byte {at} runs past the end of its message")


def _key(number: int) -> bytes:
    return _encode(number << 3 | 2)


def _encode(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)
