"""The blocking client, against a real node."""

from __future__ import annotations

import multiprocessing
import os
import secrets
import threading
import time
from collections.abc import Iterator
from typing import Any, Callable

import pytest
from cluster import nowhere
from waiting import eventually

import ratequeue
from ratequeue.testing import Node

Make = Callable[..., str]


def test_a_lease_is_held_in_the_block_and_released_after_it(client: ratequeue.Client, make: Make) -> None:
    name = make(slots=1)
    with client.acquire(name, ttl=30) as lease:
        assert client.stats(name)["held"] == 1
        assert lease.resource == name
        assert lease.fencing_token > 0
        assert lease.charged == {"slots": 1}
        assert 25 < lease.expires_in < 30
        assert not lease.degraded
        assert not lease.lost.is_set()
    assert client.stats(name)["held"] == 0


def test_an_exception_releases(client: ratequeue.Client, make: Make) -> None:
    name = make(slots=1)
    with pytest.raises(ValueError, match="work"), client.acquire(name):
        raise ValueError("work")
    assert client.stats(name)["held"] == 0


def test_what_was_reported_is_what_counts(client: ratequeue.Client, make: Make) -> None:
    name = make(limits={"tpm": {"kind": "rate", "quota": 10_000, "window_ms": 60_000}})
    with client.acquire(name, 2000) as lease:
        lease.report(500)
    assert client.stats(name)["limits"]["tpm"]["used"] == 500
    with client.acquire(name, 2000) as lease:
        assert lease.report_from({"usage": {"input_tokens": 100, "output_tokens": 200}}) == 300
    assert client.stats(name)["limits"]["tpm"]["used"] == 800


def test_a_load_of_dimensions(client: ratequeue.Client, make: Make) -> None:
    limits = {
        name: {"kind": "rate", "quota": 1000, "window_ms": 60_000, "cost": name}
        for name in ("input_tokens", "output_tokens")
    }
    name = make(limits=limits)
    with client.acquire(name, {"input_tokens": 100, "output_tokens": 900}) as lease:
        lease.report_from({"usage": {"prompt_tokens": 90, "completion_tokens": 10, "total_tokens": 100}})
    used = {limit: stats["used"] for limit, stats in client.stats(name)["limits"].items()}
    assert used == {"input_tokens": 90, "output_tokens": 10}
    with pytest.raises(ratequeue.ConfigurationError, match="input_tokens"), client.acquire(name, 5):
        pass


def test_waiting_in_the_queue(client: ratequeue.Client, make: Make) -> None:
    name = make(slots=1)
    told: list[tuple[int, float]] = []
    waited: list[float] = []

    def second() -> None:
        with client.acquire(name, on_wait=lambda position, after: told.append((position, after))) as lease:
            waited.append(lease.waited)

    with client.acquire(name):
        thread = threading.Thread(target=second)
        thread.start()
        eventually("it is in the queue", lambda: bool(told))
        assert told[0][0] == 1
        time.sleep(0.2)
    thread.join(30)
    assert waited[0] >= 0.2


def test_refusals(client: ratequeue.Client, make: Make) -> None:
    name = make(slots=1, queue={"max_waiting": 0})
    with client.acquire(name):
        with pytest.raises(ratequeue.Rejected) as rejected, client.acquire(name, timeout=0):
            pass
        assert rejected.value.violated == ("slots",)
        assert 0 < (rejected.value.retry_after or 0) <= 1
        assert rejected.value.code == "limit-exceeded"
        with pytest.raises(ratequeue.QueueFull), client.acquire(name):
            pass
        with client.try_acquire(name) as lease:
            assert lease is None
    with client.try_acquire(name) as lease:
        assert lease is not None
    small = make(limits={"tpm": {"kind": "rate", "quota": 10, "window_ms": 1000}})
    with pytest.raises(ratequeue.LoadTooLarge, match="Split"), client.acquire(small, 11):
        pass
    with pytest.raises(ratequeue.NotFound, match=r"resources\.put"), client.acquire("no-such"):
        pass


def test_the_wait_runs_out(client: ratequeue.Client, make: Make) -> None:
    name = make(slots=1)
    with client.acquire(name):
        began = time.monotonic()
        with pytest.raises(ratequeue.WaitTimeout, match="longer timeout"), client.acquire(name, timeout=0.3):
            pass
        assert time.monotonic() - began >= 0.3


def test_a_closed_client_keeps_no_connections(ratequeue_node: Node, make: Make) -> None:
    client = ratequeue.Client(ratequeue_node.url)
    client.close()
    with client.acquire(make()):
        assert not client._runners.current()._connections._idle
    client.close()


def test_a_heartbeat_outlives_the_ttl(client: ratequeue.Client, make: Make) -> None:
    name = make(slots=1)
    with client.acquire(name, ttl=3) as lease:
        time.sleep(4.5)
        lease.check()
        assert client.stats(name)["held"] == 1
    assert client.stats(name)["held"] == 0


def test_trust_ends_before_the_server_gives_the_lease_to_others(client: ratequeue.Client, make: Make) -> None:
    name = make(slots=1)
    with client.acquire(name, ttl=1) as lease:
        lease._heart.stop()
        with client.acquire(name) as next_lease:
            assert next_lease.fencing_token > 0
            with pytest.raises(ratequeue.LeaseLost, match="longer ttl"):
                lease.check()


def test_a_lost_lease_says_so(own_node: Node) -> None:
    with ratequeue.Client(own_node.url, patience=1.5) as client:
        client.resources.put("r", {"limits": {"slots": {"kind": "concurrency", "quota": 1}}})
        with client.acquire("r", ttl=1) as lease:
            own_node.kill()
            assert lease.lost.wait(30)
            with pytest.raises(ratequeue.LeaseLost, match="longer ttl"):
                lease.report(1)
            with pytest.raises(ratequeue.LeaseLost):
                _ = lease.fencing_token
            assert lease.expires_in == 0


def test_a_restart_of_the_node_is_not_noticed(own_node: Node) -> None:
    with ratequeue.Client(own_node.url) as client:
        client.resources.put("r", {"limits": {"slots": {"kind": "concurrency", "quota": 1}}})
        tokens: list[int] = []

        def second() -> None:
            with client.acquire("r") as lease:
                tokens.append(lease.fencing_token)

        with client.acquire("r", ttl=30) as lease:
            thread = threading.Thread(target=second)
            thread.start()
            eventually("it is in the queue", lambda: client.stats("r")["queue_depth"] == 1)
            own_node.kill()
            own_node.start()
            lease.check()
            tokens.append(lease.fencing_token)
        thread.join(10)
        assert len(tokens) == 2
        assert tokens[1] > tokens[0]


def test_an_acquire_is_for_one_block(client: ratequeue.Client, make: Make) -> None:
    name = make(slots=5)
    asked = client.acquire(name)
    refused: list[ratequeue.ConfigurationError] = []

    def work() -> None:
        try:
            with asked:
                time.sleep(0.2)
        except ratequeue.ConfigurationError as error:
            refused.append(error)

    threads = [threading.Thread(target=work) for _ in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert len(refused) == 4
    assert "each block" in str(refused[0])
    assert client.stats(name)["held"] == 0


def test_many_threads_share_a_client(client: ratequeue.Client, make: Make) -> None:
    name = make(slots=4)
    at_once: list[int] = []
    most: list[int] = []

    def work() -> None:
        with client.acquire(name, timeout=30):
            at_once.append(1)
            most.append(len(at_once))
            time.sleep(0.005)
            at_once.pop()

    threads = [threading.Thread(target=work) for _ in range(60)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert len(most) == 60
    assert max(most) <= 4


def test_closing_ends_the_background_thread(ratequeue_node: Node, make: Make) -> None:
    with ratequeue.Client(ratequeue_node.url) as client, client.acquire(make()):
        thread = client._runners.current()._timers._thread
        assert thread is not None
        assert thread.is_alive()
    assert not thread.is_alive()


def _in_child(client: ratequeue.Client, name: str, said: Any) -> None:
    with client.acquire(name, timeout=10) as lease:
        said.put((os.getpid(), lease.fencing_token))


def test_a_fork_has_connections_of_its_own_and_no_leases(client: ratequeue.Client, make: Make) -> None:
    name = make(slots=2)
    fork = multiprocessing.get_context("fork")
    said = fork.Queue()
    with client.acquire(name) as lease:
        child = fork.Process(target=_in_child, args=(client, name, said))
        child.start()
        pid, token = said.get(timeout=15)
        child.join(10)
        assert child.exitcode == 0
        assert pid != os.getpid()
        assert token > lease.fencing_token
        copy = os.fork()
        if copy == 0:
            # Leaving the block in the child must not release the parent's lease.
            lease.release()
            os._exit(0)
        assert os.waitpid(copy, 0)[1] == 0
        assert client.stats(name)["held"] == 1
        lease.check()


def test_limited(client: ratequeue.Client, make: Make) -> None:
    name = make(limits={"tpm": {"kind": "rate", "quota": 10_000, "window_ms": 60_000}})

    @client.limited(name, load=lambda text, times=1: len(text) * times)
    def work(text: str, times: int = 1) -> str:
        ratequeue.current_lease().report(7)
        return text * times

    assert work("abc", times=3) == "abcabcabc"
    assert client.stats(name)["limits"]["tpm"]["used"] == 7
    with pytest.raises(ratequeue.ConfigurationError, match="no current lease"):
        ratequeue.current_lease()

    async def coroutine() -> None: ...

    with pytest.raises(ratequeue.ConfigurationError, match=r"ratequeue\.aio"):
        client.limited(name)(coroutine)

    def generator() -> Iterator[int]:
        yield 1

    with pytest.raises(ratequeue.ConfigurationError, match="acquire in it"):
        client.limited(name)(generator)


def test_admin(client: ratequeue.Client, make: Make) -> None:
    name = make(slots=3)
    assert client.resources.get(name)["limits"]["slots"]["quota"] == 3
    assert client.resources.patch(name, {"limits": {"slots": {"quota": 5}}}, if_version=1)["version"] == 2
    with pytest.raises(ratequeue.Conflict) as conflict:
        client.resources.patch(name, {"limits": {"slots": {"quota": 6}}}, if_version=1)
    assert conflict.value.code == "version-conflict"
    with pytest.raises(ratequeue.Conflict) as there:
        client.resources.put(name, {"limits": {"slots": {"kind": "concurrency", "quota": 1}}}, create_only=True)
    assert there.value.code == "version-conflict"
    assert name in [resource["name"] for resource in client.resources.list()]
    client.resources.delete(name)
    with pytest.raises(ratequeue.NotFound) as gone:
        client.resources.get(name)
    assert gone.value.code == "resource-not-found"


def test_the_key_makes_a_repetition_the_same_lease(client: ratequeue.Client, make: Make) -> None:
    name = make(slots=2)
    # The key of one call. With a job's id in its place, two runs of the job would share a lease in the same way.
    key = secrets.token_hex(16)
    with (
        client.acquire(name, idempotency_key=key) as first,
        client.acquire(name, idempotency_key=key) as second,
    ):
        assert first.id == second.id
    with pytest.raises(ratequeue.LeaseLost), client.acquire(name, idempotency_key=key):
        pass


def test_without_a_node(own_node: Node) -> None:
    part = ratequeue.local(0.5)
    with ratequeue.Client(own_node.url, patience=1.5) as client:
        client.resources.put("r", {"limits": {"slots": {"kind": "concurrency", "quota": 4}}})
        with client.acquire("r", on_unavailable=part) as lease:
            assert not lease.degraded
        own_node.kill()
        with pytest.raises(ratequeue.Unavailable, match="Check that nodes run") as denied, client.acquire("r"):
            pass
        assert denied.value.no_effect
        with client.acquire("r", on_unavailable="allow") as lease:
            assert lease.degraded
            assert lease.fencing_token == 0
            # As long as it may be waited for.
            assert 0 < lease.expires_in < threading.TIMEOUT_MAX
            lease.report(1)
        with client.acquire("r", on_unavailable=part) as lease, client.acquire("r", on_unavailable=part):
            assert lease.degraded
            with pytest.raises(ratequeue.WaitTimeout), client.acquire("r", on_unavailable=part, timeout=0.2):
                pass
            with pytest.raises(ratequeue.Rejected), client.acquire("r", on_unavailable=part, timeout=0):
                pass
        with client.acquire("r", on_unavailable=part):
            pass
        with pytest.raises(ratequeue.Unavailable), client.acquire("unknown", on_unavailable=part):
            pass


def test_the_shared_client_reads_the_environment(
    ratequeue_node: Node, make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RATEQUEUE_URL", f"http://127.0.0.1:9,{ratequeue_node.url}")
    name = make(slots=1)
    with ratequeue.acquire(name) as lease:
        assert not lease.lost.is_set()
        with ratequeue.try_acquire(name) as other:
            assert other is None


def test_a_proxy_is_used_when_it_is_given(ratequeue_node: Node, make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    name = make()
    monkeypatch.setenv("HTTP_PROXY", nowhere(0))
    monkeypatch.setenv("ALL_PROXY", nowhere(0))
    with ratequeue.Client(ratequeue_node.url, patience=1) as client, client.acquire(name):
        pass
    with (
        ratequeue.Client(ratequeue_node.url, patience=1, proxy=nowhere(0)) as client,
        pytest.raises(ratequeue.Unavailable),
        client.acquire(name),
    ):
        pass


def test_spans(ratequeue_node: Node, make: Make) -> None:
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import SimpleSpanProcessor
    from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

    spans = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(spans))
    name = make(slots=1)
    with (
        ratequeue.Client(ratequeue_node.url, tracer=provider.get_tracer("test")) as client,
        client.acquire(name) as lease,
    ):
        (span,) = spans.get_finished_spans()
        assert span.name == "ratequeue.acquire"
        assert dict(span.attributes or {})["ratequeue.lease_id"] == lease.id
        with client.try_acquire(name) as other:
            assert other is None
        with pytest.raises(ratequeue.NotFound), client.acquire("no-such"):
            pass
        _, refused, failed = spans.get_finished_spans()
        assert dict(refused.attributes or {})["ratequeue.refused"] == "limit-exceeded"
        assert [span.status.is_ok for span in (refused, failed)] == [True, False]
        assert not refused.events
    provider.shutdown()
