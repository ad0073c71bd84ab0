"""The limiter within this process."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import pytest

import ratequeue
from ratequeue._local import LocalLimiter


def test_the_local_limiter_keeps_to_its_part() -> None:
    limiter = LocalLimiter()
    limits = {"tpm": {"kind": "rate", "quota": 100, "window_ms": 1000}, "slots": {"kind": "concurrency", "quota": 4}}
    limiter.resize(limits, Fraction(1, 2))
    wait, first = limiter.acquire(30, 0.0)
    assert wait == 0
    assert limiter.acquire(30, 0.1)[0] == pytest.approx(0.9)
    assert limiter.acquire(20, 0.2)[0] == 0
    assert limiter.acquire(0, 0.3)[0] > 0
    limiter.release(first)
    assert limiter.acquire(0, 0.4)[0] == 0
    assert limiter.acquire(51, 5.0)[0] == float("inf")


@pytest.mark.parametrize("quota", [49, 98, 103, 107, 161, 187, 196, 1_000_003])
def test_one_part_of_as_many_as_the_quota_is_one(quota: int) -> None:
    part = ratequeue.local(1 / quota)
    limiter = LocalLimiter()
    limiter.resize({"slots": {"kind": "concurrency", "quota": quota}}, part.fraction)
    assert limiter.acquire(1, 0.0)[0] == 0
    assert limiter.acquire(1, 0.0)[0] > 0


def test_a_part_is_as_exact_as_it_was_given() -> None:
    assert ratequeue.local(0.29).fraction * 100 == 29
    assert ratequeue.local(Fraction(1, 3)).fraction == Fraction(1, 3)
    assert ratequeue.local(1).fraction == 1


@pytest.mark.parametrize(
    "limits",
    [{}, {"slots": {}}, {"slots": {"kind": "concurrency"}}, {"rpm": {"kind": "rate", "quota": 1}}, 5, {"a": 1}],
)
def test_what_are_no_limits_is_told(limits: Any) -> None:
    with pytest.raises(ratequeue.ConfigurationError, match="kind and quota"):
        ratequeue.local(0.5, limits)


def test_the_local_limiter_frees_what_it_charged() -> None:
    limiter = LocalLimiter()
    slots = {"kind": "concurrency", "quota": 1}
    limiter.resize({"slots": slots}, Fraction(1))
    wait, before = limiter.acquire(1, 0.0)
    assert wait == 0
    limiter.resize({"others": slots}, Fraction(1))
    assert limiter.acquire(1, 0.0)[0] == 0
    limiter.release(before)
    assert limiter.acquire(1, 0.0)[0] > 0
