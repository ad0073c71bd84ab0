"""Names and addresses of a network with several regions. Nothing here touches the system.

    root namespace            TAGwan (router)              TAGrR (region R, all its nodes)
      TAG  198.19.x.y+30 ------ http (bridge) --- hR ------- http  198.19.x.y+k : 7600
                                relay :7999 ----- pR ------- peer  198.18.R.I   : 7700
                                           198.18.R.254
"""
from __future__ import annotations

import ipaddress
import re
import tempfile
import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

HTTP_PORT = 7600
PEER_PORT = 7700
RELAY_PORT = 7999
REGIONS_MAX = 16
# An HTTP subnet has 30 hosts, and the last one is the root namespace's.
NODES_MAX = 29
RTT_MAX_MS = 10_000
PEERS = "198.18.0.0/16"
# An interface has at most 15 characters; namespaces add "wan" or "r" and a number.
_TAG = re.compile(r"[a-z][a-z0-9]{0,11}")


class Usage(Exception):
    """What the caller asked for makes no sense. The text says what would."""


class Failed(Exception):
    """It could not be done. The text says what to do about it."""


@dataclass(frozen=True)
class Node:
    """One node: region and index both count from 1."""

    region: int
    index: int
    http_ip: str

    @property
    def peer_ip(self) -> str:
        return f"198.18.{self.region}.{self.index}"

    @property
    def http(self) -> str:
        return f"{self.http_ip}:{HTTP_PORT}"

    @property
    def peer(self) -> str:
        return f"{self.peer_ip}:{PEER_PORT}"


@dataclass(frozen=True)
class Layout:
    """All names and addresses of one network."""

    tag: str
    regions: int
    nodes: int
    subnet: str

    def __post_init__(self) -> None:
        check_tag(self.tag)
        if not 1 <= self.regions <= REGIONS_MAX:
            raise Usage(f"--regions is {self.regions}: it must be 1 to {REGIONS_MAX}")
        if self.nodes < 1 or self.regions * self.nodes > NODES_MAX:
            raise Usage(f"{self.regions} regions of {self.nodes} nodes: a network has 1 to {NODES_MAX} nodes")

    @property
    def router(self) -> str:
        return router(self.tag)

    @property
    def root_ip(self) -> str:
        return str(ipaddress.IPv4Network(self.subnet)[30])

    def namespace(self, region: int) -> str:
        return f"{self.tag}r{region}"

    def namespace_of(self, node: Node) -> str:
        return self.namespace(node.region)

    def nodes_of(self, region: int) -> list[Node]:
        first = (region - 1) * self.nodes
        hosts = ipaddress.IPv4Network(self.subnet)
        return [Node(region, index, str(hosts[first + index])) for index in range(1, self.nodes + 1)]

    def region_numbers(self) -> range:
        return range(1, self.regions + 1)

    def as_json(self, relay_pid: int) -> dict[str, Any]:
        """What `up` prints: all a test has to know."""
        return {
            "tag": self.tag,
            "router": self.router,
            "relay_pid": relay_pid,
            "subnet": self.subnet,
            "regions": [
                {
                    "region": region,
                    "namespace": self.namespace(region),
                    "nodes": [
                        {"region": node.region, "index": node.index, "http": node.http, "peer": node.peer}
                        for node in self.nodes_of(region)
                    ],
                }
                for region in self.region_numbers()
            ],
        }

    @staticmethod
    def from_json(state: dict[str, Any]) -> Layout:
        regions = state["regions"]
        return Layout(state["tag"], len(regions), len(regions[0]["nodes"]), state["subnet"])


def check_tag(tag: str) -> None:
    if not _TAG.fullmatch(tag):
        raise Usage(f"tag {tag!r}: it must be 1 to 12 lower-case letters and digits and begin with a letter")


def router(tag: str) -> str:
    return f"{tag}wan"


def is_namespace_of(tag: str, name: str) -> bool:
    return re.fullmatch(re.escape(tag) + r"(wan|r\d+)", name) is not None


def gateway(region: int) -> str:
    """The router's address in a region; also where its connections from that region seem to come from."""
    return f"198.18.{region}.254"


def peers_of(region: int) -> str:
    return f"198.18.{region}.0/24"


def region_of(address: str) -> int:
    return int(address.split(".")[2])


def choose_subnet(tag: str, taken: Iterable[str]) -> str:
    """32 addresses of 198.19.0.0/16 that no interface has yet. Tags that differ in a pid at their end differ here."""
    used = [ipaddress.IPv4Network(network, strict=False) for network in taken]
    digits = re.search(r"\d+$", tag)
    start = int(digits.group()) if digits else zlib.crc32(tag.encode())
    blocks = list(ipaddress.IPv4Network("198.19.0.0/16").subnets(new_prefix=27))
    for step in range(len(blocks)):
        block = blocks[(start + step) % len(blocks)]
        if not any(block.overlaps(network) for network in used):
            return str(block)
    raise Failed("no subnet of 198.19.0.0/16 is free: take networks down that are not used any more")


def state_folder(tag: str) -> Path:
    return Path(tempfile.gettempdir()) / f"ratequeue-net-{tag}"
