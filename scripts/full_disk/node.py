"""The small disk, and the node whose data is on it."""
from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tests" / "testnet"))

from call import Caller as Caller  # noqa: E402

MIB = 1024 * 1024
CALL_MAX_S = 10.0
# The filler takes the disk over a second or two, not from one moment to the next: a node looks five times a second.
_FILL_STEP_BYTES = 4 * MIB
# Every phase sees one.
_CHECKPOINT_INTERVAL = "8s"
_STOP_MAX_S = 30.0
_READY_MAX_S = 30.0


class Wrong(Exception):
    """Something is not as it must be."""


class Disk:
    """The small file system: the node's data, and a filler beside it."""

    def __init__(self, path: Path) -> None:
        self.data = path / "data"
        self._path = path
        self._filler = path / "filler"

    def free(self) -> int:
        stat = os.statvfs(self._path)
        return stat.f_bavail * stat.f_frsize

    def fill(self, left: int) -> None:
        """Grows the filler, by one step at most, as long as more than this is left."""
        more = min(self.free() - left, _FILL_STEP_BYTES)
        if more <= 0:
            return
        with self._filler.open("ab") as file, contextlib.suppress(OSError):
            os.posix_fallocate(file.fileno(), file.seek(0, os.SEEK_END), more)

    def filler_bytes(self) -> int:
        with contextlib.suppress(OSError):
            return self._filler.stat().st_size
        return 0

    def give_back(self) -> None:
        self._filler.unlink()

    def bytes_in(self, folder: str) -> int:
        """What the files of a folder of the node take. They come and go meanwhile."""
        total = 0
        for path in (self.data / folder).rglob("*"):
            with contextlib.suppress(OSError):
                total += path.stat().st_blocks * 512
        return total


class Node:
    """The process, started anew as often as asked. `place` is where it listens."""

    def __init__(self, binary: str, disk: Disk, log: Path) -> None:
        self.place = ""
        # Odd while it is meant to be down: what fails then, or across then, is no fault.
        self.epoch = 1
        self._binary = binary
        self._disk = disk
        self._log = log
        self._process: subprocess.Popen[str] | None = None

    def start(self) -> float:
        """Returns when it is ready, with the seconds that took."""
        begun = time.monotonic()
        command = [self._binary, "dev", "--http", "127.0.0.1:0", "--data", str(self._disk.data),
                   "--checkpoint-interval", _CHECKPOINT_INTERVAL]
        clean = {name: value for name, value in os.environ.items() if not name.startswith("RATEQUEUE_")}
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=log,
                                             env=clean, text=True)
        assert self._process.stdout is not None
        # "RateQueue listens on http://127.0.0.1:43839, its state is in ..."; nothing when it ends before that.
        words = self._process.stdout.readline().split()
        if len(words) < 4:
            self._process.wait(_STOP_MAX_S)
        self.expect_running()
        self.place = words[3].removeprefix("http://").rstrip(",")
        while time.monotonic() - begun < _READY_MAX_S:
            self.expect_running()
            with contextlib.suppress(OSError):
                if once(self.place, "GET", "/readyz")[0] == 200:
                    self.epoch += 1
                    return time.monotonic() - begun
            time.sleep(0.05)
        raise Wrong(f"{_READY_MAX_S:.0f} s after its start the node is not ready:\n{self.last_words()}")

    def stop(self, how: signal.Signals) -> None:
        assert self._process is not None
        self.expect_running()
        self.epoch += 1
        self._process.send_signal(how)
        try:
            code = self._process.wait(_STOP_MAX_S)
        except subprocess.TimeoutExpired:
            raise Wrong(f"{_STOP_MAX_S:.0f} s after {how.name} the node still runs:\n{self.last_words()}") from None
        wanted = 0 if how == signal.SIGTERM else -how
        if code != wanted:
            raise Wrong(f"after {how.name} the node ended with {code} instead of {wanted}:\n{self.last_words()}")

    def end(self) -> None:
        if self._process is not None and self._process.poll() is None:
            self._process.kill()
            self._process.wait()

    def expect_running(self) -> None:
        code = None if self._process is None else self._process.poll()
        if code is not None:
            raise Wrong(f"the node has ended by itself, with {code}:\n{self.last_words()}")

    def has_ended(self) -> bool:
        return self._process is not None and self._process.poll() is not None

    def log_lines(self, text: str) -> int:
        return sum(text in line for line in self._log.read_text(errors="replace").splitlines())

    def last_words(self) -> str:
        return "\n".join(f"    {line}" for line in self._log.read_text(errors="replace").splitlines()[-5:])


def once(place: str, method: str, path: str, body: Any = None) -> tuple[int, Any]:
    caller = Caller(place, CALL_MAX_S)
    try:
        return caller.call(method, path, body)
    finally:
        caller.close()
