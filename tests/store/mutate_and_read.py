"""Open damaged copies of a good file, as a process of its own: HDF5 is C, and may crash.

Arguments: the good file, a scratch folder, "mutate" or "truncate", first and last seed. Writes one line
a copy: the seed and what came of it; the caller knows from the last line which one was fatal.
"""

from __future__ import annotations

import resource
import sys
from pathlib import Path

import numpy as np

from filterdb.errors import FilterDBError
from filterdb.store import verify


def damaged(good: bytes, how: str, seed: int) -> bytes:
    random = np.random.default_rng(seed)
    if how == "truncate":
        return good[: int(random.integers(0, len(good)))] if seed % 2 else good[: seed * 97 % len(good)]
    data = bytearray(good)
    for _ in range(int(random.integers(1, 12))):
        # Half of the hits go where HDF5 keeps its own structures.
        end = len(good) if random.random() < 0.5 else 4096
        data[int(random.integers(8, end))] = int(random.choice([0, 1, 255, int(random.integers(0, 256))]))
    return bytes(data)


def main() -> None:
    source, folder, how, first, last = sys.argv[1:]
    good = Path(source).read_bytes()
    limit = 2 << 30
    resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
    copy = Path(folder) / "damaged.h5"
    for seed in range(int(first), int(last)):
        copy.write_bytes(damaged(good, how, seed))
        print(seed, end=" ", flush=True)
        try:
            print("problems" if verify(copy) else "nothing", flush=True)
        except FilterDBError as error:
            print(type(error).__name__, "|", error.reason.replace("\n", " ")[:150], flush=True)
        except BaseException as error:
            print("UNEXPECTED", type(error).__name__, error, flush=True)


if __name__ == "__main__":
    main()
