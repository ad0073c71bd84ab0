"""Starts the relay of a network, talks to it, and ends it."""
from __future__ import annotations

import json
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import layout as names
import system
from layout import Failed, Layout, Usage

_PATIENCE_S = 10.0
_RELAY = Path(__file__).resolve().with_name("relay.py")


def start(tag: str, until_pid: int) -> int:
    """Starts the relay in the background and waits until it listens."""
    log = names.state_folder(tag) / "relay.log"
    with log.open("wb") as errors:
        relay = subprocess.Popen([sys.executable, str(_RELAY), tag, str(until_pid)], stdin=subprocess.DEVNULL,
                                 stdout=subprocess.PIPE, stderr=errors, start_new_session=True, cwd="/")
    _state_file(tag, "pid").write_text(str(relay.pid))
    assert relay.stdout is not None
    with relay.stdout as output:
        ready = output.readline()
    if ready != b"ready\n":
        relay.wait()
        raise Failed(f"the relay did not start: {log.read_text(errors='replace').strip()[-500:]}")
    # It is meant to outlive this process: nothing waits for it here.
    relay.returncode = 0
    return relay.pid


def ask(tag: str, **request: Any) -> dict[str, Any]:
    """Sends one request and gives the answer."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(_PATIENCE_S)
        try:
            connection.connect(str(names.state_folder(tag) / "control"))
            connection.sendall(json.dumps(request).encode() + b"\n")
            line = connection.makefile("rb").readline()
        except OSError as error:
            raise Failed(f"the relay of {tag} does not answer ({error}): take the network down and up again") from error
    answer: dict[str, Any] = json.loads(line or b'{"error": "no answer"}')
    if "error" in answer:
        raise Failed(f"the relay of {tag} refuses: {answer['error']}")
    return answer


def stop(tag: str) -> None:
    """Ends the relay, if there is one, and returns when it is gone."""
    pid = _pid(tag)
    if pid:
        system.end_process(pid)


def _pid(tag: str) -> int:
    """The relay's process: as noted, unless that number belongs to something else by now."""
    try:
        pid = int(_state_file(tag, "pid").read_text())
    except (OSError, ValueError):
        return 0
    words = system.command_line(pid)
    return pid if str(_RELAY) in words and tag in words else 0


def remember(layout: Layout, pid: int) -> dict[str, Any]:
    state = layout.as_json(pid)
    _state_file(layout.tag, "network.json").write_text(json.dumps(state))
    return state


def recall(tag: str) -> Layout:
    """The layout of a network that is up."""
    names.check_tag(tag)
    try:
        return Layout.from_json(json.loads(_state_file(tag, "network.json").read_text()))
    except (OSError, ValueError) as error:
        raise Usage(f"there is no network with tag {tag}: make one with net.py up --tag {tag}") from error


def _state_file(tag: str, name: str) -> Path:
    return names.state_folder(tag) / name
