#!/usr/bin/env python3
"""Runs the commands of README.md and docs/tour.md as a newcomer would, one after the other, and checks what they show.

Every block of a page that is marked sh or python is run, in order, in one shell. A command that stays in the foreground, like
`make run`, has a terminal of its own; the next one is started after Ctrl-C there, as the page says. A block marked json or text that
follows is what the one before must print: numbers of a text may differ, and so may times and rates in JSON; `...` stands for anything.

Each page has a copy of this repository, in a network namespace where there is one, so that neither files nor ports are in the way.
There the release build is made already: it is the program that is tested. CARGO=true keeps make from building it once more. What
pip installs is fetched once, into target/readme.

Ends with 0 when all was as the pages say, and 1 at the first thing that was not.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PAGES = ["README.md", "docs/tour.md"]
WHEELS = ROOT / "target" / "readme"

# Commands that stay in the foreground, and what they say once they are up.
STAYING = {"make run": "Ctrl-C stops it", "make cluster": "Ctrl-C stops them"}
# What runs this script.
LEFT_OUT = {"make test"}

START_SECONDS = 120
STOP_SECONDS = 60
BLOCK_SECONDS = 180
END = "--- end of block"

# What may differ from what is shown, and how: leases, for their ids have a log index in them; of JSON what depends on how fast
# somebody types, and on when the nodes write entries of their own; of a text all numbers.
ANYTHING = (r"\.\.\.", ".*?")
LEASE = (r"\b(?:local|us-east-1)\.[0-9a-z]{20}", r"(?:local|us-east-1)\.[0-9a-z]{20}")
JSON_CHANGES = [
    (rf'"{name}":[0-9.]+', rf'"{name}":[0-9.]+')
    for name in (
        "expires_in_ms waited_ms retry_after_ms oldest_wait_ms p50 p90 p99 granted_per_s released_per_s rejected_per_s "
        "log_index ended_index effective_index"
    ).split()
]
# None was granted in the last 10 s.
JSON_CHANGES.append((r'"wait_ms":\{[^}]*\}', r'"wait_ms":(?:null|\{[^}]*\})'))
TEXT_CHANGES = [(r"\b[0-9a-f]{16}\b", "[0-9a-f]{16}"), (r"\b[0-9]+m?s\b", "(?:[0-9]+m?s|-)"), ("[0-9]+", "[0-9]+")]


@dataclass
class Block:
    line: int
    kind: str
    text: str


class Wrong(Exception):
    """What is not as a page says."""


def blocks(text: str) -> list[Block]:
    found = []
    for match in re.finditer(r"^```(\w+)\n(.*?)^```$", text, re.DOTALL | re.MULTILINE):
        found.append(Block(text.count("\n", 0, match.start()) + 1, match[1], match[2]))
    return found


def pattern(block: Block) -> str:
    """What fits the output that a block shows, as `flat` gives it."""
    changes = [ANYTHING, LEASE, *(JSON_CHANGES if block.kind == "json" else TEXT_CHANGES)]
    shown = re.compile("|".join(f"({shown})" for shown, _ in changes))
    fits, end = "", 0
    text = flat(block.kind, block.text)
    for match in shown.finditer(text):
        fits += re.escape(text[end : match.start()]) + changes[(match.lastindex or 1) - 1][1]
        end = match.end()
    return fits + re.escape(text[end:])


def flat(kind: str, text: str) -> str:
    """JSON without spaces, for curl ends no line; a text with one in place of several."""
    return ("" if kind == "json" else " ").join(text.split())


class Terminal:
    """A command that stays in the foreground."""

    def __init__(self, command: str, ready: str, where: Path, env: dict[str, str], log: Path) -> None:
        self.command = command
        self.log = log
        with log.open("wb") as out:
            self.process = subprocess.Popen(
                ["bash", "-c", command], cwd=where, env=env, stdin=subprocess.DEVNULL, stdout=out, stderr=out,
                start_new_session=True,
            )
        until = time.monotonic() + START_SECONDS
        while ready not in self.log.read_text():
            if self.process.poll() is not None or time.monotonic() > until:
                self.stop()
                raise Wrong(f"{command} did not come up:\n{self.log.read_text()}")
            time.sleep(0.05)

    def stop(self) -> None:
        """Ctrl-C, as a terminal sends it: to all of them."""
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGINT)
        try:
            self.process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            os.killpg(self.process.pid, signal.SIGKILL)
            raise Wrong(f"{self.command} did not stop at Ctrl-C:\n{self.log.read_text()}") from None


class Shell:
    """The terminal in which the commands of a page are typed."""

    def __init__(self, where: Path, env: dict[str, str], scratch: Path) -> None:
        self.scratch = scratch
        self.errors = scratch / "stderr"
        with self.errors.open("wb") as errors:
            self.process = subprocess.Popen(
                ["bash", "--norc", "-e", "-o", "pipefail"], cwd=where, env=env, text=True, start_new_session=True,
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors,
            )

    def run(self, block: Block) -> str:
        """Runs a block; gives what it printed. The shell ends at a command that fails."""
        suffix = "py" if block.kind == "python" else "sh"
        file = self.scratch / f"line-{block.line}.{suffix}"
        file.write_text(block.text)
        how = f"python3 {file}" if block.kind == "python" else f". {file}"
        assert self.process.stdin and self.process.stdout
        self.process.stdin.write(f"{how} </dev/null\necho\necho '{END}'\n")
        self.process.stdin.flush()

        said = []
        signal.signal(signal.SIGALRM, lambda *_: self.process.kill())
        signal.alarm(BLOCK_SECONDS)
        for line in self.process.stdout:
            if line.strip() == END:
                signal.alarm(0)
                return "".join(said)
            said.append(line)
        signal.alarm(0)
        raise Wrong(f"a command failed, or took longer than {BLOCK_SECONDS} s.\n{''.join(said)}{self.errors.read_text()}")

    def stop(self) -> None:
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()


def staying(block: Block) -> tuple[str, str] | None:
    """The command of a block that stays in the foreground, and what it says once it is up."""
    for line in block.text.splitlines():
        command = line.split("#")[0].strip()
        verb = " ".join(command.split()[:2])
        if verb in STAYING:
            return command, STAYING[verb]
    return None


def check(block: Block, said: str | None) -> None:
    if said is None:
        raise Wrong("it shows the output of a block that prints nothing here")
    if not re.fullmatch(pattern(block), flat(block.kind, said), re.DOTALL):
        raise Wrong(f"it shows\n\n{block.text}\nbut this was printed\n\n{said.strip()}")


def run(page: str, where: Path, env: dict[str, str], scratch: Path) -> int:
    """Runs all blocks of a page; gives how many."""
    shell, terminal, said, count = Shell(where, env, scratch), None, None, 0
    try:
        found = blocks((where / page).read_text())
        for block, following in zip(found, [*found[1:], Block(0, "", "")]):
            try:
                if block.kind in ("json", "text"):
                    check(block, said)
                    said = None
                    continue
                count += 1
                print(f"{page}:{block.line}: {block.text.splitlines()[0]}", flush=True)
                if stays := staying(block):
                    others = [line.split("#")[0].strip() for line in block.text.splitlines()]
                    if unknown := set(others) - LEFT_OUT - {stays[0], ""}:
                        raise Wrong(f"{unknown} would never be typed after {stays[0]}")
                    if terminal:
                        terminal.stop()
                    terminal = Terminal(*stays, where, env, scratch / f"line-{block.line}.log")
                    said = None
                    continue
                said = shell.run(block)
                if following.kind not in ("json", "text") and "/problems/" in said:
                    raise Wrong(f"a call was refused:\n{said}")
            except Wrong as wrong:
                raise Wrong(f"{page}:{block.line}: {wrong}") from None
        return count
    finally:
        shell.stop()
        if terminal:
            terminal.stop()


def fetch_wheels() -> None:
    """Has pip fetch what the Python package needs, once, so that a second run needs no network."""
    constraints = ROOT / "sdk" / "python" / "constraints.txt"
    wanted = constraints.read_text()
    done = WHEELS / "constraints.txt"
    if done.exists() and done.read_text() == wanted:
        return
    shutil.rmtree(WHEELS, ignore_errors=True)
    with tempfile.TemporaryDirectory() as scratch:
        subprocess.run([sys.executable, "-m", "venv", scratch], check=True)
        pip = [f"{scratch}/bin/python", "-m", "pip", "download", "--quiet", "--disable-pip-version-check"]
        subprocess.run([*pip, "--dest", str(WHEELS), "-c", str(constraints), "httpx", "hatchling"], check=True)
    done.write_text(wanted)


def copy(binary: Path, where: Path) -> None:
    """A copy of the repository as it is after its first build."""
    left_out = ("target", ".git", ".venv", "venv", "ratequeue-*", "__pycache__", ".*_cache")
    shutil.copytree(ROOT, where, ignore=shutil.ignore_patterns(*left_out), symlinks=True)
    program = where / "target" / "release" / "ratequeue"
    program.parent.mkdir(parents=True)
    shutil.copy2(binary, program)


def in_own_network() -> None:
    """Goes on in a network namespace of its own, if there can be one: the README's ports are free there."""
    for unshare in (["unshare", "--net"], ["unshare", "--map-root-user", "--net"]):
        probe = [*unshare, "ip", "link", "set", "lo", "up"]
        if shutil.which("unshare") and shutil.which("ip") and subprocess.run(probe, capture_output=True).returncode == 0:
            inside = 'ip link set lo up && exec "$@"'
            command = [*unshare, "sh", "-c", inside, "sh", sys.executable, *sys.argv, "--here"]
            os.execvp(command[0], command)
    print("readme.py: no network namespace: the ports of the pages must be free", flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--binary", type=Path, help="the program: else RATEQUEUE_BIN, else target/debug/ratequeue")
    parser.add_argument("--here", action="store_true", help="in this network")
    wish = parser.parse_args()
    binary = wish.binary or Path(os.environ.get("RATEQUEUE_BIN") or ROOT / "target" / "debug" / "ratequeue")
    if not os.access(binary, os.X_OK):
        print(f"readme.py: no program {binary}: run cargo build, or give --binary", file=sys.stderr)
        return 2
    if not wish.here:
        fetch_wheels()
        in_own_network()

    settings = {name: value for name, value in os.environ.items() if not name.startswith(("RATEQUEUE_", "PIP_"))}
    env = {**settings, "CARGO": "true", "PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(WHEELS), "PIP_CONFIG_FILE": os.devnull}
    env.pop("MAKEFLAGS", None)
    for page in PAGES:
        with tempfile.TemporaryDirectory(prefix="readme-") as scratch:
            where = Path(scratch) / "ratequeue"
            copy(binary, where)
            try:
                count = run(page, where, env, Path(scratch))
            except Wrong as wrong:
                print(f"readme.py: {wrong}", file=sys.stderr)
                return 1
        print(f"readme.py: {count} blocks ran as {page} says", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
