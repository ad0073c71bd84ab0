"""Decisions without a server: arguments, usage, nodes, pauses, the local limiter, timers, pools."""

from __future__ import annotations

import functools
import json
import pickle
import re
import threading
from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import Any, Optional

import pytest

import ratequeue
import ratequeue.aio
from ratequeue import _admin, _answers, _settings, _usage, _wire
from ratequeue._clock import including_sleep
from ratequeue._connections import IDLE_FOR, Connections
from ratequeue._flows import margin
from ratequeue._nodes import SUBJECTS_MAX, Nodes
from ratequeue._retry import PAUSE_MAX, pauses, try_timeout
from ratequeue._timers import CANCELLED_MIN, Timers


@pytest.mark.parametrize(
    ("argument", "value", "allowed"),
    [
        ("resource", "no spaces", "A-Z a-z 0-9"),
        ("load", -1, "2\\*\\*53"),
        ("load", 1.5, "whole number"),
        ("load", True, "whole number"),
        ("load", {"a": -1}, "load\\['a'\\]"),
        ("load", {"Input": 1}, "'Input' is no dimension"),
        ("load", {"load": 1}, "'load' is no dimension"),
        ("load", {3: 1}, "3 is no dimension"),
        ("load", {"a": 2**53, "b": 1}, "2\\*\\*53 in all"),
        ("load", dict.fromkeys((f"d{n}" for n in range(17)), 1), "at most 16 dimensions"),
        ("timeout", -1, "from 0 to 31 days"),
        ("timeout", -0.0005, "from 0 to 31 days"),
        ("timeout", True, "timeout"),
        ("timeout", "3", "timeout"),
        ("timeout", float("nan"), "timeout"),
        ("timeout", float("inf"), "timeout"),
        ("ttl", 0, "from 0.001"),
        ("priority", 10, "0 \\(first\\) to 9"),
        ("key", "", "visible ASCII"),
        ("key", 5, "visible ASCII"),
        ("metadata", {"a": 1}, "pairs of strings"),
        ("metadata", ["a"], "pairs of strings"),
        ("metadata", dict.fromkeys(map(str, range(17)), ""), "at most 16 pairs"),
    ],
)
def test_a_wrong_argument_is_named(argument: str, value: Any, allowed: str) -> None:
    given = {"resource": "r", "load": 1, "timeout": None, "priority": 5, "ttl": None, "key": None, "metadata": None}
    with pytest.raises(ratequeue.ConfigurationError, match=allowed):
        _wire.acquire_request(**{**given, argument: value})


def test_seconds_become_milliseconds_rounded_up() -> None:
    assert _wire.milliseconds("t", 0.1, 0) == 100
    assert _wire.milliseconds("t", 0.0001, 0) == 1
    assert _wire.milliseconds("t", 1.001, 0) == 1001


@pytest.mark.parametrize(
    ("usage", "load", "used"),
    [
        ({"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15}, 100, 15),
        (
            {"input_tokens": 10, "output_tokens": 5, "cache_creation_input_tokens": 3, "cache_read_input_tokens": 900},
            100,
            18,
        ),
        (
            {"input_tokens": 10, "output_tokens": 5},
            {"input": 9, "output": 9, "images": 2},
            {"input": 10, "output": 5, "images": 2},
        ),
        ({"input_tokens": 10, "output_tokens": 5, "total_tokens": 15}, {"total_tokens": 100}, {"total_tokens": 15}),
        ({"output_tokens": 5}, {"input": 9, "output": 9, "total": 18}, {"input": 9, "output": 5, "total": 5}),
        ({}, 100, None),
        (None, 100, None),
    ],
)
def test_usage(usage: Any, load: Any, used: Any) -> None:
    assert _usage.used({"usage": usage}, load) == used
    assert _usage.used(SimpleNamespace(usage=usage and SimpleNamespace(**usage)), load) == used
    assert _usage.used(SimpleNamespace(status_code=200, json=lambda: {"usage": usage}), load) == used


def test_each_subject_has_its_own_leader() -> None:
    nodes = Nodes(["a", "b", "c"])
    nodes.prefer("r", "c/", 0)
    nodes.prefer("s", "b", 0)
    nodes.prefer(None, "b", 0)
    assert [nodes.first(subject) for subject in ("r", "s", "unknown", None)] == ["c", "b", "a", "a"]
    nodes.prefer("r", "elsewhere", 0)
    assert nodes.first("r") == "c"
    nodes.move_on("r", "c")
    nodes.move_on("r", "c")
    assert [nodes.first(subject) for subject in ("r", "s", "unknown", None)] == ["a", "b", "a", "a"]


def test_a_silent_node_leads_nothing_for_a_while() -> None:
    nodes = Nodes(["a", "b", "c"])
    for subject in ("r", "s"):
        nodes.prefer(subject, "c", 0)
    nodes.prefer("t", "b", 0)
    nodes.silent("c", 10)
    assert [nodes.first(subject) for subject in ("r", "s", "t", None)] == ["a", "a", "b", "a"]
    nodes.prefer("r", "c", 11)
    assert nodes.first("r") == "a"
    nodes.prefer("r", "c", 12)
    assert nodes.first("r") == "c"
    nodes.silent("a", 13)
    assert [nodes.first(subject) for subject in ("r", "s", "unknown", None)] == ["c", "b", "b", "b"]


def test_leaders_that_were_not_named_lately_are_forgotten() -> None:
    nodes = Nodes(["a", "b"])
    for subject in ("r", *map(str, range(SUBJECTS_MAX - 1)), "r", "one more"):
        nodes.prefer(subject, "b", 0)
    assert [nodes.first(subject) for subject in ("0", "r", "1", "one more")] == ["a", "b", "b", "b"]


def test_the_group_of_a_lease_is_before_the_last_dot() -> None:
    assert _wire.release("eu.west.0123456789abcdefghij", None).subject == _wire.about_lease("eu.west.other")
    assert _wire.about_lease("eu.west.x") != _wire.about_lease("eu.east.x")
    assert _wire.about_lease("r.x") != _wire.about_resource("r")


def test_pauses_double_up_to_a_maximum() -> None:
    found = pauses(lambda low, high: (low + high) / 2)
    first = [next(found) for _ in range(10)]
    assert first[:3] == [0.02, 0.04, 0.08]
    assert first[-1] == PAUSE_MAX


def test_a_try_leaves_time_for_another() -> None:
    assert try_timeout(20, 5) == 9
    assert try_timeout(2, 0) == 1
    assert try_timeout(3, 0, part=3) == 1
    assert try_timeout(0.3, 0) == pytest.approx(0.2)
    assert try_timeout(0.1, 0) == pytest.approx(0.1)


def test_the_margin_is_small_and_never_all() -> None:
    assert margin(0.1) == pytest.approx(0.025)
    assert 0.05 < margin(60) < 0.1
    assert margin(900) > 900 * 0.0002


def test_settings() -> None:
    assert _settings.urls(" http://a/ , http://b,http://a,") == ("http://a", "http://b")
    for url in ("a:7600", "http://a:7600/", "http://a:7600/v1", "a:7600/v1/"):
        assert _settings.urls(url) == ("http://a:7600",)
    assert _settings.urls("https://a/v1,[::1]:7600") == ("https://a", "http://[::1]:7600")
    no_urls = [
        "ftp://a:7600",
        "http://",
        "http://a:76x0",
        "http://a:99999",
        "http://[::1",
    ]
    for url in no_urls:
        with pytest.raises(ratequeue.ConfigurationError, match="is no URL"):
            ratequeue.Client(url)
    for url, what in (
        ("http://a:7600/v2", "a path"),
        ("http://a:7600/v1/resources", "a path"),
        ("http://a:7600//x/", "a path"),
        ("http://a:7600?hidden", "a query"),
        ("http://a:7600/?hidden", "a query"),
        ("http://a:7600/v1?hidden", "a query"),
        ("http://a:7600#hidden", "a fragment"),
        ("http://a:7600/#", "a fragment"),
        ("http://b,http://a:7600/v2", "a path"),
    ):
        advice = f"a URL with {what} is refused: give it as http://a:7600, "
        with pytest.raises(ratequeue.ConfigurationError, match=advice) as refused:
            ratequeue.Client(url)
        assert "hidden" not in str(refused.value)
        with pytest.raises(ratequeue.ConfigurationError, match=advice):
            ratequeue.aio.AsyncClient(url)
    assert _settings.urls("http://[::1]:7600//") == ("http://[::1]:7600",)
    for urls in ([], " , ", 7, [7]):
        with pytest.raises(ratequeue.ConfigurationError, match="1 to 64 URLs"):
            ratequeue.Client(urls)  # type: ignore[arg-type]
    for url in ("http://me:hidden@a", "http://hidden@a/v1"):
        with pytest.raises(ratequeue.ConfigurationError, match="user or a password") as refused:
            ratequeue.Client(url)
        assert "hidden" not in str(refused.value)
    for key in ("a b", "", "ä", "a\nb", 5):
        with pytest.raises(ratequeue.ConfigurationError, match="api_key"):
            ratequeue.Client("http://a", api_key=key)  # type: ignore[arg-type]
    for patience in (0, True, "5", float("nan")):
        with pytest.raises(ratequeue.ConfigurationError, match="patience"):
            ratequeue.Client("http://a", patience=patience)  # type: ignore[arg-type]
    with pytest.raises(ratequeue.ConfigurationError, match="proxy"):
        ratequeue.Client("http://a", proxy="nothing")
    own = _settings.settings("http://a", " hidden\n", 1, "deny", True, None, "http://me:hidden@b")
    assert own.headers["authorization"] == "Bearer hidden"
    assert "hidden" not in repr(own)
    assert own.headers["user-agent"] == f"ratequeue-python/{ratequeue.__version__}"
    assert repr(ratequeue.Client(["a", "b"], api_key="hidden")) == "<Client of http://a, http://b>"
    assert repr(ratequeue.aio.AsyncClient("a")) == "<AsyncClient of http://a>"
    with pytest.raises(ratequeue.ConfigurationError, match="'deny', 'allow'"):
        ratequeue.Client("http://a", on_unavailable="ignore")  # type: ignore[arg-type]
    for fraction in (0, True, "a"):
        with pytest.raises(ratequeue.ConfigurationError, match="over 0"):
            ratequeue.local(fraction)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "body",
    [
        b"<html>",
        b"[]",
        b'{"code": "limit-exceeded", "retry_after_ms": "soon"}',
        b'{"code": "limit-exceeded", "violated": "slots"}',
    ],
)
def test_what_no_node_answers_is_said_so(body: bytes) -> None:
    answer = _wire.Answer("http://a", 429, {}, body, 0.0)
    assert "does not answer like a RateQueue node" in str(_answers.error(answer))
    for read in (_answers.page, _answers.lease):
        with pytest.raises(ratequeue.RateQueueError, match="does not answer like"):
            read(answer)


def test_errors_survive_pickling() -> None:
    errors = [
        ratequeue.Rejected("not now", retry_after=1.5, violated=["slots"], code="limit-exceeded", status=429),
        ratequeue.LeaseLost("over", code="lease-ended", status=410, state="lapsed"),
        ratequeue.WaitTimeout("too late", retry_after=1.5, code="wait-timeout", status=429),
        ratequeue.Unavailable("nobody", no_effect=True),
    ]
    for error in errors:
        again = pickle.loads(pickle.dumps(error))
        assert str(again) == str(error)
        assert vars(again) == vars(error)


@pytest.mark.parametrize(
    ("body", "state", "advice"),
    [
        (b'{"code": "lease-ended", "state": "lapsed"}', "lapsed", r"queue\.claim_ms"),
        (b'{"code": "lease-ended", "state": "cancelled"}', "cancelled", "silent for 15 s"),
        (b'{"code": "lease-ended", "state": "released"}', "released", "one acquire only"),
        (b'{"code": "lease-ended", "state": "recalled"}', "recalled", "Acquire again"),
        (b'{"code": "lease-ended", "state": 7}', None, "Acquire again"),
        (b'{"code": "lease-ended"}', None, "Acquire again"),
        (b'{"code": "lease-expired"}', "expired", "longer ttl"),
    ],
)
def test_how_a_lease_ended_is_said(body: bytes, state: Optional[str], advice: str) -> None:
    lost = _answers.error(_wire.Answer("http://a", 410, {}, body, 0.0))
    assert isinstance(lost, ratequeue.LeaseLost)
    assert lost.state == state
    with pytest.raises(ratequeue.LeaseLost, match=advice):
        raise lost


def test_the_queue_of_a_resource_is_sent_as_it_was_given() -> None:
    queues: list[ratequeue.QueueSettings] = [
        {},
        ratequeue.QueueSettings(max_waiting=5),
        ratequeue.QueueSettings(claim_ms=0),
    ]
    for queue in queues:
        call = _admin.put("r", {"limits": {}, "queue": queue}, None, False)
        assert json.loads(call.body or b"")["queue"] == queue
    assert b"claim_ms" not in (_admin.put("r", {"limits": {}}, None, False).body or b"")


def test_timers_fire_in_order_and_can_be_cancelled() -> None:
    timers, fired, done = Timers(), [], threading.Event()
    timers.call_later(0.6, lambda: fired.append("second"))
    timers.call_later(0.1, lambda: fired.append("first"))
    timers.call_later(0.5, lambda: fired.append("cancelled")).cancel()
    timers.call_later(0.7, done.set)
    assert done.wait(30)
    timers.close()
    assert fired == ["first", "second"]


def test_cancelled_timers_do_not_pile_up() -> None:
    timers = Timers()
    kept = [timers.call_later(900, lambda: None) for _ in range(10)]
    for _ in range(1000):
        timers.call_later(900, lambda: None).cancel()
        assert len(timers) <= len(kept) + CANCELLED_MIN + 1
    fired = threading.Event()
    timers.call_later(0.01, fired.set)
    assert fired.wait(30)
    timers.close()


def test_the_clock_goes_on_while_the_machine_sleeps() -> None:
    # As on a Mac: time.monotonic is another clock, which stops.
    mac = SimpleNamespace(CLOCK_MONOTONIC=6, clock_gettime=lambda clock: {6: 9.0}[clock], monotonic=lambda: 1.0)
    assert including_sleep(mac, "darwin")() == 9.0
    linux = SimpleNamespace(CLOCK_BOOTTIME=7, clock_gettime=lambda clock: {7: 8.0}[clock], monotonic=lambda: 1.0)
    assert including_sleep(linux, "linux")() == 8.0
    assert including_sleep(SimpleNamespace(monotonic=lambda: 1.0), "win32")() == 1.0


@pytest.mark.parametrize("limited", [ratequeue.limited, ratequeue.aio.limited])
def test_options_are_checked_at_the_decoration(limited: Any) -> None:
    with pytest.raises(TypeError, match="unexpected keyword argument 'laod'"):
        limited("r", laod=3)
    with pytest.raises(ratequeue.ConfigurationError, match="on_unavailable is 'alow'"):
        limited("r", on_unavailable="alow")
    for option, value in (("timeout", -1), ("priority", 10), ("ttl", 0), ("patience", 0), ("metadata", {"a": 1})):
        with pytest.raises(ratequeue.ConfigurationError, match=option):
            limited("r", **{option: value})


class Called:
    """A callable without a name."""

    def __call__(self) -> int:
        return 1


class Awaited:
    async def __call__(self) -> int:
        return 1


class Generated:
    async def __call__(self) -> AsyncIterator[int]:
        yield 1


def test_what_cannot_be_limited_is_told_what_can() -> None:
    for what in (Generated(), Generated.__call__, functools.partial(Generated.__call__, Generated())):
        for limited in (ratequeue.limited, ratequeue.aio.limited):
            with pytest.raises(ratequeue.ConfigurationError, match="use acquire in it"):
                limited("r")(what)
    with pytest.raises(ratequeue.ConfigurationError, match=r"Called object .* use limited from ratequeue$"):
        ratequeue.aio.limited("r")(Called())  # type: ignore[type-var]
    with pytest.raises(ratequeue.ConfigurationError, match=r"Awaited object .* ratequeue\.aio"):
        ratequeue.limited("r")(Awaited())
    ratequeue.limited("r")(Called())
    ratequeue.aio.limited("r")(Awaited())


def test_each_message_says_once_what_to_do() -> None:
    problems = {
        "resource-not-found": "No resource is named r. Create it with PUT /v1/resources/r.",
        "version-conflict": "The resource exists, in version 2. Read it again and repeat the change.",
        "limit-exceeded": "It cannot be granted now, and wait_ms is 0. In the way: slots. Try again in about 1 ms.",
        "idempotency-conflict": "This Idempotency-Key was used for another request. Make a new key for each new request.",
        "storage-full": "The disk of this node is nearly full, so nothing new is granted. Free some space.",
    }
    for code, detail in problems.items():
        body = json.dumps({"code": code, "detail": detail, "violated": ["slots"] if code == "limit-exceeded" else None})
        text = str(_answers.error(_wire.Answer("http://a", 409, {}, body.encode(), 0.0)))
        assert not re.search("PUT|wait_ms", text)
        assert (
            len(re.findall("(?i)create it|read it again|read the resource again|try again|a new key|free", text)) == 1
        )


def test_connections_are_kept_by_node_for_a_while() -> None:
    now = 0.0
    connections: Connections[object] = Connections(object, lambda: now)
    first, second, other = connections.take("a"), connections.take("a"), connections.take("b")
    for url, connection in (("a", first), ("a", second), ("b", other)):
        assert connections.give(url, connection) == []
    # The one that was used last goes on, so that those that are not needed grow old.
    now = IDLE_FOR
    assert connections.take("a") is second
    assert connections.give("a", second) == []
    now += 1
    assert connections.give("c", connections.take("c")) == [first, other]
    assert second in connections.clear()
    late = connections.take("a")
    assert late is not second
    assert connections.give("a", late) == [late]
