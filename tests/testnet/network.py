"""Makes the namespaces, interfaces and rules of a network, cuts regions off, and takes everything down.

Between regions nothing is forwarded: what a region sends to another one is redirected to the relay, as TCP only.

    region 1                      router                                region 2
      node -- peer -- p1 -> [raw: cut?] -> [redirect] -> relay -> [output: cut?] -> p2 -- peer -- node

A region that is cut off loses its packets at the router, in both directions and without a word to anybody.
"""
from __future__ import annotations

import contextlib
import os
import shutil
import signal
from pathlib import Path
from typing import Callable

import layout as names
import system
from layout import Failed, Layout
from system import ip

# The relay connects to a region from the router's address in the *asking* region. So the addresses of each packet
# name both regions, and one set of subnets is enough to silence both halves of a connection. Only what goes back to
# the asking end has the router's own address: there the connection's original destination names the other region.
_RULES = """
table ip regions {{
  set cut {{ type ipv4_addr; flags interval; }}
  chain before {{
    type filter hook prerouting priority raw; policy accept;
    iifname "p*" ip saddr @cut drop
    iifname "p*" ip daddr @cut drop
  }}
  chain divert {{
    type nat hook prerouting priority dstnat; policy accept;
    iifname "p*" ip daddr {peers} meta l4proto tcp redirect to :{port}
  }}
  chain out {{
    type filter hook output priority filter; policy accept;
    oifname "p*" ip saddr @cut drop
    oifname "p*" ip daddr @cut drop
    oifname "p*" ct original ip daddr @cut drop
  }}
}}
"""


def plan(tag: str, regions: int, nodes: int) -> Layout:
    """Chooses the addresses of a new network."""
    names.check_tag(tag)
    subnet = names.choose_subnet(tag, system.addresses())
    return Layout(tag, regions, nodes, subnet)


def claim(tag: str) -> Path:
    """Makes the state folder, which also keeps others from using the tag."""
    folder = names.state_folder(tag)
    left = [name for name in system.namespaces() if names.is_namespace_of(tag, name)]
    if folder.exists() or left or _interface_exists(tag):
        raise Failed(f"tag {tag} is in use: choose another, or take the old network down (net.py down --tag {tag})")
    folder.mkdir(mode=0o700)
    return folder


def make(layout: Layout) -> None:
    """Makes all namespaces and joins them."""
    tag, router = layout.tag, layout.router
    ip(f"netns add {router}")
    ip(f"-n {router} link set lo up")
    # A new namespace takes this from the machine's own settings.
    system.run("ip", "netns", "exec", router, "sh", "-c", "echo 0 > /proc/sys/net/ipv4/ip_forward")
    system.nft(router, _RULES.format(peers=names.PEERS, port=names.RELAY_PORT))
    ip(f"-n {router} link add http type bridge")
    ip(f"-n {router} link set http up")
    ip(f"link add {tag} type veth peer name root netns {router}")
    ip(f"-n {router} link set root master http up")
    ip(f"addr add {layout.root_ip}/27 dev {tag}")
    ip(f"link set {tag} up")
    for region in layout.region_numbers():
        _add_region(layout, region)


def _add_region(layout: Layout, region: int) -> None:
    router, space = layout.router, layout.namespace(region)
    ip(f"netns add {space}")
    ip(f"-n {space} link set lo up")
    for port, inner in ((f"p{region}", "peer"), (f"h{region}", "http")):
        ip(f"-n {router} link add {port} type veth peer name {inner} netns {space}")
    ip(f"-n {router} addr add {names.gateway(region)}/24 dev p{region}")
    ip(f"-n {router} link set p{region} up")
    # Isolated: over this bridge regions reach the root namespace only, never each other around the relay.
    ip(f"-n {router} link set h{region} master http up")
    ip(f"-n {router} link set h{region} type bridge_slave isolated on")
    for node in layout.nodes_of(region):
        ip(f"-n {space} addr add {node.peer_ip}/24 dev peer")
        ip(f"-n {space} addr add {node.http_ip}/27 dev http")
    ip(f"-n {space} link set peer up")
    ip(f"-n {space} link set http up")
    ip(f"-n {space} route add {names.PEERS} via {names.gateway(region)}")


def cut(layout: Layout, regions: list[int]) -> None:
    """From now on no packet passes between these regions and any other."""
    subnets = ", ".join(names.peers_of(region) for region in regions)
    system.nft(layout.router, f"add element ip regions cut {{ {subnets} }}")


def heal(layout: Layout) -> None:
    system.nft(layout.router, "flush set ip regions cut")


def take_down(tag: str) -> None:
    """Removes every trace of a network, also of a half-made one. What still runs in its regions is killed."""
    for name in system.namespaces():
        if names.is_namespace_of(tag, name):
            if name != names.router(tag):
                _end_all_inside(name)
            _delete(f"netns del {name}", name, system.namespace_exists)
    if _interface_exists(tag):
        _delete(f"link del {tag}", tag, _interface_exists)
    shutil.rmtree(names.state_folder(tag), ignore_errors=True)


def _end_all_inside(namespace: str) -> None:
    # A process that stays would keep the nameless namespace alive for ever.
    with contextlib.suppress(Failed):
        for pid in ip(f"netns pids {namespace}").split():
            if int(pid) != os.getpid():
                system.end_process(int(pid), signal.SIGKILL)


def _interface_exists(name: str) -> bool:
    return Path("/sys/class/net", name).exists()


def _delete(arguments: str, name: str, exists: Callable[[str], bool]) -> None:
    """Somebody else may take the same network down at the same time: that is no failure."""
    try:
        ip(arguments)
    except Failed:
        if exists(name):
            raise
