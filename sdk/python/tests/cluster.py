"""Several real nodes on free ports."""

from __future__ import annotations

import itertools
import socket
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Optional

import httpx

from ratequeue.testing import Process, find_binary, is_ready

TIMEOUT = 30.0


class Cluster:
    """Nodes from 1 on, in regions of so many; three in one by default. Any of them may be killed and started again."""

    def __init__(self, folder: Path, regions: Optional[Mapping[str, int]] = None) -> None:
        self._folder = folder
        regions = regions or {"eu": 3}
        count = sum(regions.values())
        ports = free_ports(2 * count)
        self.urls = {n: f"http://127.0.0.1:{ports[n - 1]}" for n in range(1, count + 1)}
        self.file = folder / "cluster.toml"
        text = 'name = "test"\n'
        ids = iter(self.urls)
        for region, size in regions.items():
            nodes = "".join(
                f'  {{ id = {n}, http = "127.0.0.1:{ports[n - 1]}", peer = "127.0.0.1:{ports[count + n - 1]}" }},\n'
                for n in itertools.islice(ids, size)
            )
            text += f"[regions.{region}]\nnodes = [\n{nodes}]\n"
        self.file.write_text(text)
        self._processes: dict[int, Process] = {}

    @property
    def url(self) -> str:
        return ",".join(self.urls.values())

    def start(self) -> None:
        for n in self.urls:
            self.start_node(n)
        deadline = time.monotonic() + TIMEOUT
        while True:
            args = [find_binary(), "cluster", "init", "--cluster", str(self.file)]
            init = subprocess.run(args, capture_output=True, text=True)
            if init.returncode == 0:
                break
            assert time.monotonic() < deadline, init.stderr
            time.sleep(0.2)
        while not all(is_ready(url) for url in self.urls.values()):
            assert time.monotonic() < deadline, "the nodes are not ready"
            time.sleep(0.05)

    def start_node(self, n: int) -> None:
        data = str(self._folder / f"data-{n}")
        args = ["node", "--cluster", str(self.file), "--id", str(n), "--data", data]
        self._processes[n] = Process(args, self._folder / f"output-{n}")

    def leader(self, resource: str) -> Optional[int]:
        """The node that leads the group of a resource now: it answers about it, and says that it leads."""
        for n, url in self.urls.items():
            try:
                answer = httpx.get(f"{url}/v1/resources/{resource}", timeout=2, trust_env=False)
            except httpx.HTTPError:
                continue
            if answer.status_code == 200 and answer.headers.get("ratequeue-leader") == url:
                return n
        return None

    def kill_leader(self, resource: str) -> int:
        """Kills the leader's process as a crash would; gives its number."""
        deadline = time.monotonic() + TIMEOUT
        while (n := self.leader(resource)) is None:
            assert time.monotonic() < deadline, "nobody leads"
            time.sleep(0.05)
        self._processes.pop(n).kill()
        return n

    def stop(self) -> None:
        for process in self._processes.values():
            process.kill()


def free_ports(count: int) -> list[int]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports
