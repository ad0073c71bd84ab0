"""Resources in two regions: each is asked about where it lives."""

from __future__ import annotations

from pathlib import Path

from cluster import Cluster

import ratequeue
from ratequeue import _retry


class Watched(ratequeue.Client):
    """A client that records which node it asked about what."""

    def __init__(self, url: str) -> None:
        super().__init__(url)
        self.asked: list[tuple[str, str]] = []

        send = self._runners.current()._send

        def watched(effect: _retry.Send) -> _retry.Reply:
            self.asked.append((effect.url, effect.call.path.rpartition("/")[2]))
            return send(effect)

        self._runners.current()._send = watched  # type: ignore


def test_calls_go_to_the_region_of_the_resource(tmp_path: Path) -> None:
    cluster = Cluster(tmp_path, {"eu": 1, "us": 1})
    try:
        cluster.start()
        client = Watched(cluster.url)
        with client:
            home = {"near": cluster.urls[1], "far": cluster.urls[2]}
            for name, region in (("near", "eu"), ("far", "us")):
                slots: ratequeue.LimitSettings = {"kind": "concurrency", "quota": 1}
                client.resources.put(name, {"placement": region, "limits": {"slots": slots}})
                with client.acquire(name):
                    pass
            for _ in range(3):
                client.asked.clear()
                # One in the other, so that a release follows an acquire in the other region.
                with client.acquire("near"), client.acquire("far"):
                    pass
                assert client.asked == [
                    (home["near"], "acquire"),
                    (home["far"], "acquire"),
                    (home["far"], "release"),
                    (home["near"], "release"),
                ]
    finally:
        cluster.stop()
