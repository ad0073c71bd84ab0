"""Several real nodes on free ports."""

from __future__ import annotations

import itertools
import os
import signal
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Optional

import httpx

from ratequeue.testing import Process, find_binary, is_ready

TIMEOUT = 30.0

# Each cluster has a loopback address for itself, and fixed ports below those that the system gives to connections: a node
# that was killed finds its ports free when it comes back.
_NTH = itertools.count(1)
_HTTP = 10_000
_PEER = 20_000


def nowhere(nth: int) -> str:
    """Returns one of a few URLs where nobody listens: ports that are privileged and in use nowhere."""
    return f"http://127.0.0.1:{1 + nth}"


class Cluster:
    """Nodes from 1 on, in regions of a given size; three in one by default. Any may be killed and started again.

    Those that are ``named`` know each other as ``localhost``.
    """

    def __init__(self, folder: Path, regions: Optional[Mapping[str, int]] = None, named: bool = False) -> None:
        self._folder = folder
        regions = regions or {"eu": 3}
        count = sum(regions.values())
        high, low = (os.getpid() & 0xFFFF).to_bytes(2, "big")
        ip = f"127.{next(_NTH)}.{high}.{low}"
        if named:
            # There is one such name only: the ports are those of this process.
            ip, shift = "localhost", 1000 + os.getpid() % 800 * 10
        else:
            shift = 0
        http, peer = _HTTP + shift, _PEER + shift
        self.urls = {n: f"http://{ip}:{http + n}" for n in range(1, count + 1)}
        self.file = folder / "cluster.toml"
        text = 'name = "test"\n'
        ids = iter(self.urls)
        for region, size in regions.items():
            nodes = "".join(
                f'  {{ id = {n}, http = "{ip}:{http + n}", peer = "{ip}:{peer + n}" }},\n'
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
        """Finds the node that leads the group of a resource now: it answers, and names itself as the leader."""
        for n, url in self.urls.items():
            try:
                answer = httpx.get(f"{url}/v1/resources/{resource}", timeout=2, trust_env=False)
            except httpx.HTTPError:
                continue
            if answer.status_code == 200 and answer.headers.get("ratequeue-leader") == url:
                return n
        return None

    def kill_leader(self, resource: str) -> int:
        """Kills the leader's process as a crash would; returns its number."""
        n = self._found(resource)
        self._processes.pop(n).kill()
        return n

    def hang_leader(self, resource: str) -> None:
        """Suspends the leader's process. It keeps its connections, and writes nothing to them."""
        os.kill(self._processes[self._found(resource)].pid, signal.SIGSTOP)

    def _found(self, resource: str) -> int:
        deadline = time.monotonic() + TIMEOUT
        while (n := self.leader(resource)) is None:
            assert time.monotonic() < deadline, "nobody leads"
            time.sleep(0.05)
        return n

    def stop(self) -> None:
        for process in self._processes.values():
            process.kill()
