"""A fixture that starts a real node for your tests.

In ``conftest.py``::

    from ratequeue.testing import ratequeue_node  # a fixture

In a test::

    def test_it(ratequeue_node):
        with ratequeue.Client(ratequeue_node.url) as client:
            client.resources.put("api", {"limits": {"slots": {"kind": "concurrency", "quota": 1}}})

The server's binary is that of ``RATEQUEUE_BIN``, else ``ratequeue`` in the ``PATH``, else ``target/release/ratequeue`` or
``target/debug/ratequeue`` in this folder or one above it. Needs pytest.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Optional

import httpx
import pytest

from .errors import ConfigurationError

START_TIMEOUT = 20.0
STOP_TIMEOUT = 15.0
_URL = re.compile(r"http://\S+?:\d+")


def find_binary() -> str:
    """Returns the path of the server's binary. Raises :class:`ConfigurationError` with what to do when there is none."""
    named = os.environ.get("RATEQUEUE_BIN")
    if named:
        if not os.access(named, os.X_OK):
            raise ConfigurationError(f"RATEQUEUE_BIN is {named!r}, which is no program")
        return named
    found = shutil.which("ratequeue")
    if found:
        return found
    for folder in [Path.cwd(), *Path.cwd().parents]:
        for profile in ("release", "debug"):
            path = folder / "target" / profile / "ratequeue"
            if os.access(path, os.X_OK):
                return str(path)
    raise ConfigurationError("no ratequeue binary: set RATEQUEUE_BIN, put it into the PATH, or build it (cargo build)")


class Process:
    """A process of the server, with its output in a file. Stopped at the latest when the interpreter ends its block."""

    def __init__(self, args: Sequence[str], output: Path) -> None:
        binary = find_binary()
        self.output = output
        self._file = output.open("ab")
        self._process = subprocess.Popen(
            [binary, *args], stdin=subprocess.DEVNULL, stdout=self._file, stderr=subprocess.STDOUT
        )

    @property
    def pid(self) -> int:
        return self._process.pid

    def said(self) -> str:
        return self.output.read_text(errors="replace")

    def runs(self) -> bool:
        return self._process.poll() is None

    def stop(self) -> None:
        """Stops the process cleanly, or by force when that takes too long."""
        self._process.terminate()
        try:
            self._process.wait(STOP_TIMEOUT)
        except subprocess.TimeoutExpired:
            self.kill()
        self._file.close()

    def kill(self) -> None:
        """Kills the process, as a crash would."""
        self._process.kill()
        self._process.wait()
        self._file.close()


class Node:
    """A single node on a free port, with its state in a folder of its own."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.url = ""
        """URL at which it listens. It stays the same when the node is restarted."""
        self.process: Optional[Process] = None

    def start(self) -> None:
        """Starts the node, or starts it again with the state it had. Returns when it takes calls."""
        address = self.url[len("http://") :] or "127.0.0.1:0"
        output = self._folder / "output"
        output.unlink(missing_ok=True)
        args = ["dev", "--http", address, "--data", str(self._folder / "data")]
        self.process = process = Process(args, output)
        deadline = time.monotonic() + START_TIMEOUT
        while time.monotonic() < deadline and process.runs():
            said = _URL.search(process.said())
            self.url = self.url or (said.group() if said else "")
            if said and is_ready(self.url):
                return
            time.sleep(0.02)
        said_all = process.said()
        process.kill()
        raise RuntimeError(f"the node did not start:\n{said_all}")

    def stop(self) -> None:
        """Stops the node cleanly."""
        if self.process is not None:
            self.process.stop()
            self.process = None

    def kill(self) -> None:
        """Kills the node, as a crash would."""
        if self.process is not None:
            self.process.kill()
            self.process = None

    def restart(self) -> None:
        self.stop()
        self.start()


def is_ready(url: str) -> bool:
    """Tells whether the node at this URL can decide."""
    try:
        return httpx.get(f"{url}/readyz", timeout=2, trust_env=False).status_code == 200
    except httpx.HTTPError:
        return False


@pytest.fixture(scope="session")
def ratequeue_node() -> Iterator[Node]:
    """A real node, one for the whole run of the tests. Give each test resources of its own."""
    with tempfile.TemporaryDirectory(prefix="ratequeue-") as folder:
        node = Node(Path(folder))
        node.start()
        try:
            yield node
        finally:
            node.stop()
