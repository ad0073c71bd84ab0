"""The few things asked of the system: run `ip` and `nft`, enter a namespace, wait for a process."""
from __future__ import annotations

import contextlib
import ctypes
import os
import select
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

from layout import Failed

_CLONE_NEWNET = 0x40000000
_NAMESPACES = Path("/run/netns")
_libc = ctypes.CDLL(None, use_errno=True)
# Where nft lives; root's PATH after a plain su lacks it.
os.environ["PATH"] = os.environ.get("PATH", "/usr/bin:/bin") + ":/usr/sbin:/sbin"


def check_able() -> None:
    """Says what is missing before anything is made."""
    if os.geteuid() != 0:
        raise Failed("network namespaces need root: run this as root (sudo)")
    for program, package in (("ip", "iproute2"), ("nft", "nftables")):
        if shutil.which(program) is None:
            raise Failed(f"{program} is missing: install the package {package} (apt-get install {package})")


def run(*command: str, given: str | None = None) -> str:
    """Runs a command and gives what it printed."""
    done = subprocess.run(command, input=given, capture_output=True, text=True)
    if done.returncode != 0:
        raise Failed(f"{' '.join(command)}: {(done.stderr or done.stdout).strip()}")
    return done.stdout


def ip(arguments: str) -> str:
    return run("ip", *arguments.split())


def nft(namespace: str, rules: str) -> None:
    """Applies rules in a namespace, all of them or none."""
    run("ip", "netns", "exec", namespace, "nft", "-f", "-", given=rules)


def namespaces() -> list[str]:
    return sorted(path.name for path in _NAMESPACES.glob("*"))


def namespace_exists(name: str) -> bool:
    return (_NAMESPACES / name).exists()


def addresses() -> list[str]:
    """The IPv4 networks of all interfaces of this namespace."""
    return [line.split()[3] for line in ip("-4 -o addr show").splitlines()]


def enter(descriptor: int) -> None:
    """Moves this thread to the network namespace behind an open file."""
    if _libc.setns(descriptor, _CLONE_NEWNET) != 0:
        error = ctypes.get_errno()
        raise OSError(error, f"setns: {os.strerror(error)}")


@contextlib.contextmanager
def inside(namespace: str) -> Iterator[None]:
    """Within it, this thread makes its sockets in another namespace. They stay there when it comes back."""
    home = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
    try:
        there = os.open(_NAMESPACES / namespace, os.O_RDONLY)
        try:
            enter(there)
        finally:
            os.close(there)
        try:
            yield
        finally:
            enter(home)
    finally:
        os.close(home)


def end_process(pid: int, number: int = signal.SIGTERM, patience_s: float = 5.0) -> None:
    """Ends a process, the hard way when it takes too long, and returns when it is gone."""
    try:
        handle = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        # Through the handle: the number of a process that is gone may belong to another by now.
        for each in (number, signal.SIGKILL):
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(handle, each)
            poll = select.poll()
            poll.register(handle, select.POLLIN)
            if poll.poll(patience_s * 1000):
                return
        raise Failed(f"process {pid} does not end")
    finally:
        os.close(handle)


def command_line(pid: int) -> list[str]:
    """The command line of a process; empty when there is none."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace").split("\0")
    except OSError:
        return []
