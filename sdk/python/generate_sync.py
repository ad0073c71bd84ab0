"""Generates the blocking client, ``src/ratequeue/_sync``, from the asyncio client, ``src/ratequeue/_async``.

    python generate_sync.py            # writes the files
    python generate_sync.py --check    # exits with 1 when they are not up to date

What unasync turns from asynchronous into blocking code is then formatted as the rest of the package.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import unasync

PROJECT = Path(__file__).parent
PACKAGE = PROJECT / "src" / "ratequeue"
NAMES = {
    "AsyncBaseTransport": "BaseTransport",
    "AsyncClient": "Client",
    "AsyncHTTPTransport": "HTTPTransport",
    "AsyncRateQueueTransport": "RateQueueTransport",
    "InLoop": "Blocking",
    "_loops": "_threads",
    "aclose": "close",
    "asyncio": "threading",
    "check_async_function": "check_sync_function",
    "handle_async_request": "handle_request",
}
"""Names that have another one in blocking code; others that begin with ``Async`` begin with ``Sync`` there."""
HEADER = "# Generated from _async/{} by generate_sync.py. Do not edit.\n"


def generate(folder: Path) -> dict[str, str]:
    """Generates the files in a folder; returns their texts by name."""
    sources = sorted(shutil.copytree(PACKAGE / "_async", folder / "_async").glob("*.py"))
    unasync.unasync_files([str(path) for path in sources], [unasync.Rule("_async", "_sync", NAMES)])
    generated = folder / "_sync"
    for path in generated.iterdir():
        path.write_text(HEADER.format(path.name) + path.read_text())

    # The order of imports and the ends of lines follow from names, and a loop that only yields is a "yield from".
    ruff = [sys.executable, "-m", "ruff"]
    options = ["--quiet", "--no-cache", "--config", str(PROJECT / "pyproject.toml"), str(generated)]
    fixes = ["--fix-only", "--unsafe-fixes", "--select", "I,UP028"]
    subprocess.run([*ruff, "check", *fixes, *options], check=True)
    subprocess.run([*ruff, "format", *options], check=True)
    return texts(generated)


def texts(folder: Path) -> dict[str, str]:
    return {path.name: path.read_text() for path in folder.glob("*.py")}


def main() -> int:
    target = PACKAGE / "_sync"
    with tempfile.TemporaryDirectory() as folder:
        wanted = generate(Path(folder))

    present = texts(target)
    if present == wanted:
        return 0

    if "--check" in sys.argv[1:]:
        names = sorted(name for name in {*present, *wanted} if present.get(name) != wanted.get(name))
        print(f"not up to date in {target}: {', '.join(names)}. Run generate_sync.py", file=sys.stderr)
        return 1

    target.mkdir(exist_ok=True)
    for name in present.keys() - wanted.keys():
        (target / name).unlink()
    for name, text in wanted.items():
        (target / name).write_text(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
