"""Effects of the flows, with the clock and the nodes played by the test."""

from __future__ import annotations

import json
import re
import threading
from dataclasses import replace
from typing import Any, Callable, Optional

import pytest

import ratequeue
from ratequeue import _settings, _wire
from ratequeue._answers import LeaseView
from ratequeue._flows import Attempt, Core, Grant, margin
from ratequeue._lease import State
from ratequeue._retry import Background, Flow, Pause, Reply, Send
from ratequeue._runner import Runner
from ratequeue._settings import OnUnavailable
from ratequeue._wire import Answer, NoAnswer

HELD = {"id": "g.1", "resource": "r", "state": "held", "fencing_token": 7, "expires_in_ms": 60_000}
WAITING = {"id": "g.1", "resource": "r", "state": "waiting", "position": 1}
NO_QUORUM = {"code": "no-quorum", "title": "t"}
UNKNOWN = {"code": "unknown-outcome", "title": "t"}
RPM: dict[str, ratequeue.LimitSettings] = {"rpm": {"kind": "rate", "quota": 1, "window_ms": 60_000}}
VIEW: dict[str, Any] = {
    "name": "r",
    "limits": RPM,
    "queue": {"max_wait_ms": 30_000},
}

Play = Callable[[Send], Reply]


class Played:
    """One node and one clock. Pauses pass at once; a call takes ``takes`` seconds, and one that is late all its time."""

    def __init__(self, play: Play, on_unavailable: OnUnavailable = "deny", patience: float = 20) -> None:
        self.now = 1000.0
        self.takes = 0.001
        self.play = play
        self.sent: list[tuple[float, str]] = []
        self.background: list[Any] = []
        settings = _settings.settings("http://a", None, patience, on_unavailable, True, None)
        self.core = Core(settings, lambda: self.now)

    def run(self, flow: Flow[Any]) -> Any:
        reply: Reply = None
        while True:
            try:
                effect = flow.send(reply)
            except StopIteration as stop:
                return stop.value
            reply = None
            if isinstance(effect, Send):
                self.sent.append((self.now, effect.call.path))
                reply = self.play(effect)
                if isinstance(reply, Answer):
                    reply = replace(reply, sent=self.now)
                self.now += effect.timeout if isinstance(reply, NoAnswer) and reply.late else self.takes
            elif isinstance(effect, Pause):
                self.now += effect.seconds
            elif isinstance(effect, Background):
                self.background.append(effect.make())

    def open(self, resource: str = "r", timeout: Optional[float] = None, patience: Optional[float] = None) -> Any:
        request = _wire.acquire_request(resource, 1, timeout, 5, None, None, None, patience)
        return self.run(self.core.open(request, Attempt(), None))

    def know(self, view: dict[str, Any]) -> None:
        self.core.know_limits(Answer("http://a", 200, {}, json.dumps(view).encode(), self.now))


def answer(send: Send, body: dict[str, Any]) -> Answer:
    status = {"no-quorum": 503, "unknown-outcome": 503}.get(body.get("code", ""), 200)
    return Answer(send.url, status, {}, json.dumps(body).encode(), 1000.0)


def test_a_resource_without_a_quorum_leaves_the_others_limited() -> None:
    played = Played(lambda send: answer(send, NO_QUORUM if "/us/" in send.call.path else HELD), "allow")
    assert not played.open("eu").degraded
    assert played.open("us").degraded
    assert not played.open("eu").degraded
    count = len(played.sent)
    assert played.open("us").degraded
    assert len(played.sent) == count


def test_the_log_says_what_was_done(caplog: pytest.LogCaptureFixture) -> None:
    for choice, said in (("allow", "without a limit"), (ratequeue.local(1, RPM), "limited in this process")):
        played = Played(lambda send: answer(send, NO_QUORUM), choice)  # type: ignore[arg-type]
        caplog.clear()
        assert played.open().degraded
        assert [said in message for message in caplog.messages] == [True]
    played = Played(lambda send: answer(send, NO_QUORUM), ratequeue.local(1))
    caplog.clear()
    with pytest.raises(ratequeue.Unavailable):
        played.open()
    assert caplog.messages == []


def test_limits_that_were_given_count_until_others_are_known() -> None:
    given: dict[str, ratequeue.LimitSettings] = {"slots": {"kind": "concurrency", "quota": 2}}
    played = Played(lambda send: answer(send, NO_QUORUM), ratequeue.local(0.5, given))
    assert played.open(timeout=0).degraded
    with pytest.raises(ratequeue.Rejected):
        played.open(timeout=0)
    played.know({"name": "r", "limits": {"slots": {"kind": "concurrency", "quota": 4}}})
    assert played.open(timeout=0).degraded


def test_a_grant_does_not_wait_for_the_limits_to_be_learned() -> None:
    played = Played(lambda send: answer(send, HELD), ratequeue.local(1))
    assert not played.open().degraded
    assert [path.rpartition("/")[2] for _, path in played.sent] == ["acquire"]
    assert len(played.background) == 1


def test_what_a_node_said_outlives_the_silence_of_others() -> None:
    said = {"code": "no-quorum", "title": "t", "detail": "It is decided in us, which cannot be reached."}
    replies: list[Any] = [said]
    late = NoAnswer("http://a", "timed out", unsent=False, late=True)
    played = Played(lambda send: answer(send, replies.pop(0)) if replies else late, patience=5)
    began = played.now
    with pytest.raises(ratequeue.Unavailable, match="decided in us, which cannot be reached") as unavailable:
        played.open()
    took = re.search(r"within ([0-9.]+) s", str(unavailable.value))
    assert took
    assert float(took.group(1)) == pytest.approx(played.now - began, rel=0.1)
    assert unavailable.value.code is None


def test_patience_of_one_call(caplog: pytest.LogCaptureFixture) -> None:
    played = Played(lambda send: NoAnswer(send.url, "timed out", unsent=False, late=True))
    for patience in (0.5, 1.0, 4.0):
        began = played.now
        with pytest.raises(ratequeue.Unavailable):
            played.open(patience=patience)
        assert played.now - began <= patience


def test_waiting_here_ends_when_the_nodes_decide_again() -> None:
    played = Played(lambda send: answer(send, NO_QUORUM), ratequeue.local(1))
    played.know(VIEW)
    assert played.open().degraded
    back = played.now + 10

    def play(send: Send) -> Reply:
        return answer(send, NO_QUORUM if played.now < back else {**HELD, "expires_in_ms": 1_000_000})

    played.play = play
    assert not played.open().degraded
    assert played.now < back + 6


def test_waiting_here_ends_with_the_wait_of_the_resource() -> None:
    played = Played(lambda send: answer(send, NO_QUORUM), ratequeue.local(1))
    played.know(VIEW)
    assert played.open().degraded
    began = played.now
    with pytest.raises(ratequeue.WaitTimeout, match="limited locally"):
        played.open()
    assert 29 < played.now - began < 36


def test_what_may_have_been_granted_is_given_up_by_who_goes_on_without() -> None:
    for first, calls in ((UNKNOWN, ["acquire", "release"]), (WAITING, ["release"]), (NO_QUORUM, [])):
        answers = [first]
        played = Played(lambda send, answers=answers: answer(send, answers.pop(0) if answers else NO_QUORUM), "allow")  # type: ignore
        assert played.open().degraded
        played.play = lambda send: answer(send, {**HELD, "state": "held"})
        played.sent.clear()
        for flow in played.background:
            played.run(flow)
        assert [path.rpartition("/")[2] for _, path in played.sent] == calls


def test_a_place_in_the_queue_is_given_up_when_no_node_decides_any_more() -> None:
    answers = [WAITING]
    played = Played(lambda send: answer(send, answers.pop(0) if answers else NO_QUORUM))
    with pytest.raises(ratequeue.Unavailable):
        played.open()
    assert len(played.background) == 1


def test_a_first_call_without_an_answer_is_given_up_by_its_key() -> None:
    for choice, patience, timeout in (
        ("deny", 20.0, None),
        ("deny", 20.0, 0),
        ("deny", 1.0, 5),
        (ratequeue.local(1), 20.0, None),
        (ratequeue.local(1), 20.0, 0),
    ):
        played = Played(lambda send: NoAnswer(send.url, "timeout", unsent=False, late=True), choice, patience)  # type: ignore[arg-type]
        with pytest.raises(ratequeue.Unavailable):
            played.open(timeout=timeout)
        played.play = lambda send: answer(send, HELD)
        played.sent.clear()
        for flow in played.background:
            played.run(flow)
        assert [path.rpartition("/")[2] for _, path in played.sent] == ["acquire", "release"]


def test_what_certainly_did_not_happen_is_not_given_up() -> None:
    played = Played(lambda send: NoAnswer(send.url, "refused", unsent=True))
    with pytest.raises(ratequeue.Unavailable):
        played.open()
    assert played.background == []


def test_a_call_without_an_answer_is_given_up_also_by_who_was_limited_here() -> None:
    played = Played(lambda send: answer(send, NO_QUORUM), ratequeue.local(1))
    played.know(VIEW)
    assert played.open().degraded
    played.now += 10
    played.play = lambda send: answer(send, UNKNOWN)
    with pytest.raises(ratequeue.Rejected):
        played.open(timeout=0)
    assert len(played.background) == 1


def test_it_is_tried_until_the_promised_time() -> None:
    for patience in (0.5, 3.0, 20.0):
        played = Played(lambda send: answer(send, NO_QUORUM), patience=patience)
        began = played.now
        with pytest.raises(ratequeue.Unavailable):
            played.open()
        assert patience - 0.1 < played.now - began <= patience


def test_a_place_outlasts_two_nodes_that_hang() -> None:
    played = Played(lambda send: answer(send, WAITING))
    request = _wire.acquire_request("r", 1, None, 5, None, None, None)
    call = request.call(_wire.HOLD_MS_MAX)
    replies: list[bool] = [False, False, True]

    def play(send: Send) -> Reply:
        return answer(send, HELD) if replies.pop(0) else NoAnswer(send.url, "timeout", unsent=False, late=True)

    played.play = play
    began = played.now
    played.run(played.core.call(call))
    assert played.now - began < 14


def test_trust_counts_from_the_sending_of_the_try_that_was_answered() -> None:
    lost = NoAnswer("http://a", "timeout", unsent=False, late=True)
    trusted = 60 - margin(60)
    # The first answer is lost, then it waits through two polls; each answer takes two seconds.
    replies: list[Any] = [lost, WAITING, WAITING, WAITING, HELD]
    played = Played(lambda send: reply if isinstance(reply := replies.pop(0), NoAnswer) else answer(send, reply))
    played.takes = 2.0
    grant = played.open()
    assert grant.trusted_until == pytest.approx(played.sent[-1][0] + trusted)
    replies = [lost, HELD]
    until = played.run(played.core.extend("g.1", None, grant.trusted_until))
    assert until == pytest.approx(played.sent[-1][0] + trusted)
    assert until < played.now + trusted - 1


def test_calls_that_are_cut_at_once_do_not_come_all_the_time() -> None:
    def play(send: Send) -> Reply:
        if send.call.hold:
            return NoAnswer(send.url, "reset", unsent=False)
        return answer(send, WAITING if played.now < back else HELD)

    for choice in ("deny", "allow"):
        played = Played(play, choice)
        back = played.now + 60
        assert not played.open().degraded
        assert played.now < back + 2
        assert len(played.sent) < 2 * 60 + 5


def test_a_release_tells_of_a_lease_that_had_ended() -> None:
    for state, kept in (("released", True), ("cancelled", True), ("lapsed", False), ("recalled", False)):
        played = Played(lambda send, state=state: answer(send, {"id": "g.1", "state": state}))  # type: ignore
        assert played.run(played.core.release("g.1", None, played.now + 10)) is kept


@pytest.mark.parametrize("caller_first", [True, False])
def test_of_two_extensions_at_once_the_shorter_counts(caller_first: bool) -> None:
    played = Played(lambda send: answer(send, HELD))
    request = _wire.acquire_request("r", 1, None, 5, None, None, None)
    view = LeaseView("g.1", "r", "held", 7, {}, 60, 0, 0, 0)
    state = State(Runner(played.core), request, Grant(view, played.now + 50), threading.Event())
    beat, own = state.extend(), state.extend()
    asked = {flow: next(flow) for flow in (beat, own)}
    for flow, ms in ((own, 2000), (beat, 60_000))[:: 1 if caller_first else -1]:
        sent = asked[flow]
        assert isinstance(sent, Send)
        with pytest.raises(StopIteration) as ended:
            flow.send(replace(answer(sent, {**HELD, "expires_in_ms": ms}), sent=played.now))
        assert ended.value.value is False
    assert state.trusted_until < played.now + 2
    state.runner.forget()
