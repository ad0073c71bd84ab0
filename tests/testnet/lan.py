"""A network of one region in which each node has a namespace of its own: packets between nodes can be dropped, one way
or some of them, and callers outside still reach every node.

    namespace TAGnN                   namespace TAGsw               root namespace
      peer 198.18.1.N  ---- pN ------ peers (bridge)
      http 198.19.x.N  ---- hN ------ http (bridge) ---- root ----- TAG 198.19.x.30

What a node does not hear is decided where it would arrive, by the address that sent it.
"""
from __future__ import annotations

import contextlib
import ipaddress
import os
import re
import signal
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import layout as names
import system
from layout import NODES_MAX, Failed, Node, Usage
from system import ip

_RULES = """
table ip faults {
  set deaf { type ipv4_addr; }
  chain loss { }
  chain in {
    type filter hook input priority filter; policy accept;
    iifname "peer" ip saddr @deaf counter drop
    iifname "peer" jump loss
  }
}
"""


@dataclass(frozen=True)
class Lan:
    """All names and addresses of one network, and its faults."""

    tag: str
    nodes: int
    subnet: str

    def region_numbers(self) -> range:
        return range(1, 2)

    def nodes_of(self, _region: int = 1) -> list[Node]:
        hosts = ipaddress.IPv4Network(self.subnet)
        return [Node(1, index, str(hosts[index])) for index in range(1, self.nodes + 1)]

    def namespace_of(self, node: Node) -> str:
        return _namespace(self.tag, node.index)

    def cut(self, ways: Iterable[tuple[int, int]]) -> None:
        """From now on nothing that the first of each pair sends arrives at the second."""
        for source, target in ways:
            system.nft(_namespace(self.tag, target), f"add element ip faults deaf {{ 198.18.1.{source} }}")

    def lose(self, percent: float) -> None:
        """From now on so many of all packets between nodes are lost, at random."""
        for node in self.nodes_of():
            system.nft(self.namespace_of(node), "flush chain ip faults loss\nadd rule ip faults loss "
                       f"numgen random mod 1000 < {round(percent * 10)} counter drop")

    def heal(self) -> None:
        for node in self.nodes_of():
            system.nft(self.namespace_of(node), "flush chain ip faults loss\nflush set ip faults deaf")

    def dropped(self) -> int:
        """Packets that were dropped so far by the rules that are there now."""
        listed = (system.run("ip", "netns", "exec", self.namespace_of(node), "nft", "list", "table", "ip", "faults")
                  for node in self.nodes_of())
        return sum(int(count) for text in listed for count in re.findall(r"counter packets (\d+)", text))


def _namespace(tag: str, index: int) -> str:
    return f"{tag}n{index}"


def up(tag: str, nodes: int) -> Lan:
    """Makes a network. One that fails half way is taken down again."""
    names.check_tag(tag)
    system.check_able()
    if not 1 <= nodes <= NODES_MAX:
        raise Usage(f"{nodes} nodes: a network has 1 to {NODES_MAX} nodes")
    if any(_is_of(tag, name) for name in system.namespaces()):
        raise Failed(f"tag {tag} is in use: choose another")
    lan = Lan(tag, nodes, names.choose_subnet(tag, system.addresses()))
    try:
        _make(lan)
    except BaseException:
        down(tag)
        raise
    return lan


def _make(lan: Lan) -> None:
    tag, switch = lan.tag, f"{lan.tag}sw"
    ip(f"netns add {switch}")
    for bridge in ("peers", "http"):
        ip(f"-n {switch} link add {bridge} type bridge")
        ip(f"-n {switch} link set {bridge} up")
    ip(f"link add {tag} type veth peer name root netns {switch}")
    ip(f"-n {switch} link set root master http up")
    ip(f"addr add {ipaddress.IPv4Network(lan.subnet)[30]}/27 dev {tag}")
    ip(f"link set {tag} up")
    for node in lan.nodes_of():
        space = lan.namespace_of(node)
        ip(f"netns add {space}")
        ip(f"-n {space} link set lo up")
        for port, bridge, inner, address in ((f"p{node.index}", "peers", "peer", f"{node.peer_ip}/24"),
                                             (f"h{node.index}", "http", "http", f"{node.http_ip}/27")):
            ip(f"-n {switch} link add {port} type veth peer name {inner} netns {space}")
            ip(f"-n {switch} link set {port} master {bridge} up")
            ip(f"-n {space} addr add {address} dev {inner}")
            ip(f"-n {space} link set {inner} up")
        system.nft(space, _RULES)


def down(tag: str) -> None:
    """Takes a network down, whole or half-made, and ends what still runs in it."""
    for name in system.namespaces():
        if _is_of(tag, name):
            with contextlib.suppress(Failed):
                for pid in ip(f"netns pids {name}").split():
                    system.end_process(int(pid), signal.SIGKILL)
            ip(f"netns del {name}")
    with contextlib.suppress(Failed):
        ip(f"link del {tag}")


def sweep(prefix: str) -> None:
    """Takes down what processes have left behind that are gone: their tags are this prefix and their pid."""
    pids = {found[1] for name in system.namespaces() if (found := re.fullmatch(rf"{prefix}(\d+)(?:sw|n\d+)", name))}
    for pid in pids:
        if not Path("/proc", pid).exists() and int(pid) != os.getpid():
            down(f"{prefix}{pid}")


def _is_of(tag: str, name: str) -> bool:
    return re.fullmatch(re.escape(tag) + r"(sw|n\d+)", name) is not None
