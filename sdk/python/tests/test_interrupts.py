"""Interrupted calls of the blocking client, against a real node: by Ctrl-C, a hook, or a thread that cannot start."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Iterator
from typing import Any, Callable

import pytest

import ratequeue

Make = Callable[..., str]


@pytest.fixture
def ctrl_c() -> Iterator[None]:
    """Ctrl-C interrupts, also where the tests run in the background of a shell that has it ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def test_a_connection_that_was_interrupted_is_left(client: ratequeue.Client, make: Make) -> None:
    name = make()
    ((before, _),) = client._runners.current()._connections._idle[client._core.settings.urls[0]]
    request = before.handle_request

    def interrupted(*args: Any, **kwargs: Any) -> Any:
        request(*args, **kwargs)
        raise KeyboardInterrupt

    closed = threading.Event()
    close = before.close

    def closing() -> None:
        close()
        closed.set()

    before.handle_request = interrupted  # type: ignore[method-assign]
    before.close = closing  # type: ignore[method-assign]
    with pytest.raises(KeyboardInterrupt), client.acquire(name):
        pass
    assert client.stats(name)["held"] == 0
    idle = client._runners.current()._connections._idle.values()
    assert before not in [connection for kept in idle for connection, _ in kept]
    assert closed.wait(10)


@pytest.mark.usefixtures("ctrl_c")
def test_ctrl_c_gives_the_place_up(client: ratequeue.Client, make: Make) -> None:
    name = make(slots=1)

    def on_wait(position: int, retry_after: float) -> None:
        # A little later, so that it comes in the middle of the call that is held open.
        main = threading.main_thread().ident or 0
        threading.Timer(0.3, lambda: signal.pthread_kill(main, signal.SIGINT)).start()

    with client.acquire(name):
        with pytest.raises(KeyboardInterrupt), client.acquire(name, on_wait=on_wait):
            pass
        assert client.stats(name)["queue_depth"] == 0


def test_ctrl_c_in_the_middle_of_a_release_releases(client: ratequeue.Client, make: Make) -> None:
    name = make(slots=1)
    send = client._runners.current()._send

    def interrupted(effect: Any) -> Any:
        client._runners.current()._send = send  # type: ignore
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), client.acquire(name):
        client._runners.current()._send = interrupted  # type: ignore
    assert client.stats(name)["held"] == 0


def test_a_hook_that_fails_gives_the_place_up(client: ratequeue.Client, make: Make) -> None:
    name = make(slots=1)

    def on_wait(position: int, retry_after: float) -> None:
        raise ValueError("hook")

    with client.acquire(name):
        with pytest.raises(ValueError, match="hook"), client.acquire(name, on_wait=on_wait):
            pass
        assert client.stats(name)["queue_depth"] == 0

        def refused_elsewhere(position: int, retry_after: float) -> None:
            with client.acquire(name, timeout=0):
                pass

        with pytest.raises(ratequeue.Rejected), client.acquire(name, on_wait=refused_elsewhere):
            pass
        assert client.stats(name)["queue_depth"] == 0


def test_a_thread_that_cannot_start_costs_no_lease(
    client: ratequeue.Client, make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = make(slots=1)
    start = threading.Thread.start
    beats: list[threading.Thread] = []

    def refused(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    def refused_once(thread: threading.Thread) -> None:
        if thread.name == "ratequeue-beat" and not beats:
            beats.append(thread)
            refused(thread)
        start(thread)

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", refused)
        with pytest.raises(RuntimeError, match="new thread"), client.acquire(name):
            pass
    assert client.stats(name)["held"] == 0
    monkeypatch.setattr(threading.Thread, "start", refused_once)
    with client.acquire(name, ttl=2) as lease:
        time.sleep(3)
        assert beats
        lease.check()
