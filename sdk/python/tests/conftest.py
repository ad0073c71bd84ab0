"""Fixtures of the tests: a real node, a real cluster, resources."""

from __future__ import annotations

import itertools
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Callable, cast

import pytest
from cluster import Cluster

import ratequeue
from ratequeue.testing import Node, ratequeue_node

__all__ = ["ratequeue_node"]

# In the background, and under nohup, the children of the tests would ignore them.
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGHUP, signal.SIG_DFL)

_numbers = itertools.count()

# Who stops the tests stops the nodes as well: as with Ctrl-C, what was started is ended.
signal.signal(signal.SIGTERM, signal.default_int_handler)


@pytest.fixture
def client(ratequeue_node: Node) -> Iterator[ratequeue.Client]:
    with ratequeue.Client(ratequeue_node.url) as client:
        yield client


@pytest.fixture
def make(client: ratequeue.Client) -> Callable[..., str]:
    """Makes a resource that no other test uses, and returns its name: ``make(slots=2, **fields of the resource)``."""

    def make(slots: int = 1, **fields: Any) -> str:
        name = f"test-{next(_numbers)}"
        limits = fields.pop("limits", {"slots": {"kind": "concurrency", "quota": slots}})
        client.resources.put(name, cast(ratequeue.ResourceSettings, {"limits": limits, **fields}))
        return name

    return make


@pytest.fixture
def own_node() -> Iterator[Node]:
    """A node that the test may stop and kill."""
    with tempfile.TemporaryDirectory(prefix="ratequeue-") as folder:
        node = Node(Path(folder))
        node.start()
        try:
            yield node
        finally:
            node.kill()


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    """Three nodes in one region."""
    cluster = Cluster(tmp_path)
    try:
        cluster.start()
        yield cluster
    finally:
        cluster.stop()
