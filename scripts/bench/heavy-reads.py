#!/usr/bin/env python3
"""Heavy reads beside acquires, on a cluster of three nodes on this machine.

    scripts/bench/heavy-reads.py --binary target/release/ratequeue [--resources 100000] [--seconds 60]

For some time callers acquire and release alone; then for as long beside 8 scrapers of /metrics and 8 readers of whole pages of
lists, all at the leader. Without --pause they take all that the machine has; the callers get less of it too. It prints the latencies of an acquire in both, and fails when a group changed
its leader or its term, when a reader was not answered, or when p99 beside the readers is more than --ratio times what it was.
"""

import argparse
import http.client
import json
import multiprocessing
import pathlib
import socket
import subprocess
import sys
import tempfile
import time

SCRAPERS = 8
LISTERS = 8
ACQUIRERS = 4
CREATORS = 16
PAGE = 1_000
# Between two acquires of a caller: the machine is not full without the readers.
PAUSE_S = 0.01
START_S = 30
LIMITS = {"limits": {"slots": {"kind": "concurrency", "quota": 1_000_000}}}


def call(connection, method, path, body=None):
    text = None if body is None else json.dumps(body)
    connection.request(method, path, text, {"Content-Type": "application/json"} if text else {})
    response = connection.getresponse()
    return response.status, response.read()


def connect(port):
    return http.client.HTTPConnection("127.0.0.1", port, timeout=30)


def free_ports(count):
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


def start(binary, folder):
    ports = free_ports(6)
    nodes = ", ".join(
        f'{{ id = {n + 1}, http = "127.0.0.1:{ports[n]}", peer = "127.0.0.1:{ports[n + 3]}" }}' for n in range(3)
    )
    file = folder / "cluster.toml"
    file.write_text(f'name = "heavy-reads"\n[regions.local]\nnodes = [ {nodes} ]\n')
    processes = []
    for n in range(3):
        log = (folder / f"node-{n + 1}.log").open("w")
        line = [binary, "node", "--cluster", file, "--id", str(n + 1), "--data", folder / f"data-{n + 1}"]
        processes.append(subprocess.Popen(line, stdout=log, stderr=log))
    deadline = time.monotonic() + START_S
    while subprocess.run([binary, "cluster", "init", "--cluster", file], capture_output=True, check=False).returncode:
        if time.monotonic() > deadline:
            sys.exit("the cluster was not formed")
        time.sleep(0.2)
    return processes, ports[:3]


def groups(port):
    """Leader and term of each group, once each has a leader."""
    deadline = time.monotonic() + START_S
    while time.monotonic() < deadline:
        found = json.loads(call(connect(port), "GET", "/v1/cluster")[1])["groups"]
        if all(group["leader"] for group in found.values()):
            return {name: (group["leader"], group["term"]) for name, group in found.items()}
        time.sleep(0.1)
    sys.exit("a group has no leader")


def create(port, names):
    """Creates resources as a client does: what is answered 503 is repeated. What is measured comes later."""
    connection, deadline = connect(port), time.monotonic() + START_S
    for name in names:
        status, body = call(connection, "PUT", f"/v1/resources/{name}", LIMITS)
        while status == 503 and time.monotonic() < deadline:
            time.sleep(0.1)
            status, body = call(connection, "PUT", f"/v1/resources/{name}", LIMITS)
        if status not in (200, 201):
            raise RuntimeError(f"{name}: {status} {body}")


def acquire(port, names, end, found):
    connection, took, n = connect(port), [], 0
    while time.monotonic() < end:
        name = names[n % len(names)]
        n += 1
        since = time.monotonic()
        status, body = call(connection, "POST", f"/v1/resources/{name}/acquire", {})
        took.append(time.monotonic() - since)
        if status == 200:
            call(connection, "POST", f"/v1/leases/{json.loads(body)['id']}/release", {})
        time.sleep(PAUSE_S)
    found.put(took)


def read(port, kind, end, pause, found):
    connection, answered, refused, cursor = connect(port), 0, 0, None
    while time.monotonic() < end:
        path = "/metrics"
        if kind == "list":
            path = f"/v1/resources?limit={PAGE}" + (f"&cursor={cursor}" if cursor else "")
        status, body = call(connection, "GET", path)
        if status == 200:
            answered += 1
            # The cursor stands at the end: to parse the page would cost the reader more than the server.
            tail = body[-300:].decode(errors="replace") if kind == "list" else ""
            cursor = json.loads("{" + tail[tail.index('"next_cursor"'):])["next_cursor"] if tail else None
        elif status == 429:
            refused += 1
            time.sleep(0.1)
        else:
            raise RuntimeError(f"{path}: {status} {body[:200]}")
        time.sleep(pause)
    found.put((kind, answered, refused))


def spawn(target, calls, found=None):
    processes = []
    for arguments in calls:
        arguments = arguments if found is None else (*arguments, found)
        processes.append(multiprocessing.Process(target=target, args=arguments, daemon=True))
        processes[-1].start()
    return processes


def join(processes):
    for process in processes:
        process.join()
    if any(process.exitcode for process in processes):
        sys.exit("a caller failed, see above")


def quantiles(samples):
    samples = sorted(samples)
    return {q: 1000 * samples[min(len(samples) - 1, int(len(samples) * q / 100))] for q in (50, 90, 99)}


def phase(port, names, seconds, pause, with_readers):
    end = time.monotonic() + seconds
    took, read_of = multiprocessing.Queue(), multiprocessing.Queue()
    acquirers = spawn(acquire, [(port, names[n::ACQUIRERS], end) for n in range(ACQUIRERS)], took)
    kinds = ["metrics"] * SCRAPERS + ["list"] * LISTERS if with_readers else []
    readers = spawn(read, [(port, kind, end, pause) for kind in kinds], read_of)
    samples = [sample for _ in acquirers for sample in took.get(timeout=seconds + START_S)]
    reads = [read_of.get(timeout=START_S) for _ in readers]
    join(acquirers + readers)
    at = quantiles(samples)
    print(f"{'beside readers' if with_readers else 'alone':15} {len(samples):6} acquires, ms: " +
          ", ".join(f"p{q} {ms:.1f}" for q, ms in at.items()))
    for kind in sorted(set(kinds)):
        answered = [n for which, n, _ in reads if which == kind]
        refused = sum(n for which, _, n in reads if which == kind)
        print(f"{'':15} {sum(answered)} answers to {len(answered)} readers of {kind}, {refused} refused")
        if not all(answered):
            sys.exit(f"a reader of {kind} was never answered")
    return at


def measure(options, ports):
    names = [f"r{n:06}" for n in range(options.resources)]
    leader = groups(ports[0])["local"][0]
    port = ports[leader - 1]
    join(spawn(create, [(port, names[n::CREATORS]) for n in range(CREATORS)]))
    before = groups(port)
    print(f"{len(names)} resources, node {leader} leads")

    alone = phase(port, names, options.seconds, options.pause, with_readers=False)
    beside = phase(port, names, options.seconds, options.pause, with_readers=True)
    after = groups(port)
    if before != after:
        sys.exit(f"leader or term have changed: {before} before, {after} after")
    ratio = beside[99] / alone[99]
    print(f"no leader has changed; p99 is {ratio:.2f} times as high")
    if options.ratio and ratio > options.ratio:
        sys.exit(f"more than {options.ratio}")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--binary", default="target/release/ratequeue")
    parser.add_argument("--resources", type=int, default=100_000)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--pause", type=float, default=0, help="of a reader between two reads, in seconds")
    parser.add_argument("--ratio", type=float, default=0, help="0 does not look at it")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        processes, ports = start(options.binary, pathlib.Path(folder))
        try:
            measure(options, ports)
        finally:
            for process in processes:
                process.terminate()
            for process in processes:
                process.wait()


if __name__ == "__main__":
    main()
