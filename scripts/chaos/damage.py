"""Damages of the files of a node."""
from __future__ import annotations

import random
import shutil
from pathlib import Path

# Which files of a data folder are of a kind.
_FILES = {
    "log": "log/*/wal/*.wal",
    "mark": "log/*/mark",
    "checkpoints": "state/db",
    "identity": "identity.json",
}
KINDS = tuple(_FILES)
WAYS = ("flipped", "cut", "zeroed", "old")
_BLOCK = 4096


def damage(dice: random.Random, data: Path, old: Path, kind: str, way: str) -> str:
    """Damages one file; says which and where, or nothing when there is none."""
    files = [path for path in data.glob(_FILES[kind]) if path.is_file() and path.stat().st_size > 0]
    if not files:
        return ""
    path = dice.choice(sorted(files))
    shown = str(path.relative_to(data))
    if way == "old":
        return _put_back(path, old / path.relative_to(data), shown)
    size = _written(path)
    at = dice.randrange(size)
    with path.open("r+b") as file:
        if way == "cut":
            file.truncate(at)
        else:
            file.seek(at)
            block = file.read(1 if way == "flipped" else min(_BLOCK, size - at))
            file.seek(at)
            file.write(bytes([block[0] ^ (1 << dice.randrange(8))]) if way == "flipped" else bytes(len(block)))
    return f"{shown} at {at} of {size}"


def _put_back(path: Path, copy: Path, shown: str) -> str:
    if not copy.exists():
        path.unlink()
        return f"{shown} removed: it is new"
    shutil.copy2(copy, path)
    return f"{shown} as it was"


def _written(path: Path) -> int:
    """How much of a file has been written: what comes after is room that was only reserved."""
    content = path.read_bytes().rstrip(b"\0")
    return max(1, len(content))
