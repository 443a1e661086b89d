"""``python -m filterdb`` is the command ``filterdb``."""

from __future__ import annotations

from filterdb.cli import main

if __name__ == "__main__":
    main()
