"""Nodes that are known by name, to each other and to their callers."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from cluster import Cluster

import ratequeue

RESOURCE: ratequeue.ResourceSettings = {"limits": {"slots": {"kind": "concurrency", "quota": 2}}}


@pytest.fixture
def named(tmp_path: Path) -> Iterator[Cluster]:
    """Three nodes at the name of this machine."""
    cluster = Cluster(tmp_path, named=True)
    try:
        cluster.start()
        yield cluster
    finally:
        cluster.stop()


def test_nodes_are_reached_by_name(named: Cluster) -> None:
    # A name means the same in any case.
    with ratequeue.Client(named.url.replace("localhost", "LocalHost")) as client:
        client.resources.put("named", RESOURCE)
        with client.acquire("named", timeout=10) as lease:
            assert lease.fencing_token > 0
        # It finds the one whose answer names itself, by this name, and asks that one first from now on.
        leader = named.kill_leader("named")
        assert client._core.nodes.first("resource named") == named.urls[leader]
        with client.acquire("named", timeout=30):
            assert named.leader("named") not in (None, leader)
