#!/usr/bin/env python3
"""What a hop between servers costs: ours and nats-server, side by side on this machine.

    gateways.py NATS_SERVER MPREG LOADGEN [--rounds 5] [--rate 10000] [--tls]

Each round runs every fabric once, in turns: one server, two (one hop), three (two hops); publishers on the
first, subscribers on the last, one generator with one clock for both ends. Of nats-server: two clusters
joined by gateways, and for the second hop a route inside the second cluster, since its gateways are linked
all with all. Of ours: a chain of clusters of one node each. Ours always speak TLS to each other; nats-server
with --tls, and otherwise in clear, which is its default.

Printed are medians over the rounds: p50 and p99 of one-way latency at a fixed rate, what hops add to those of
one server in the same round, and deliveries a second as fast as it goes.
"""

import argparse
import json
import pathlib
import socket
import statistics
import subprocess
import sys
import tempfile
import time

SETTLE_S = 1.5
START_S = 20


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("nats_server", type=pathlib.Path)
    parser.add_argument("mpreg", type=pathlib.Path)
    parser.add_argument("loadgen", type=pathlib.Path)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--rate", type=int, default=10_000, help="messages a second for latency")
    parser.add_argument("--duration", type=float, default=2.0, help="seconds of each run")
    parser.add_argument("--payload", type=int, default=128)
    parser.add_argument("--tls", action="store_true", help="nats-server speaks TLS between servers")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="gateways-") as scratch:
        scratch = pathlib.Path(scratch)
        issue(options.mpreg, scratch)
        fabrics = []
        try:
            for hops in range(3):
                fabrics.append(("nats-server", hops, Nats(options, scratch, hops)))
                fabrics.append(("mpreg", hops, Mpreg(options, scratch, hops)))
            report(measure(options, fabrics))
        finally:
            for _, _, fabric in fabrics:
                fabric.stop()


def measure(options, fabrics):
    """By server and hops: (latency reports, throughput reports), one of each a round."""
    found = {(name, hops): ([], []) for name, hops, _ in fabrics}
    for round_ in range(options.rounds):
        order = fabrics if round_ % 2 == 0 else fabrics[::-1]
        for name, hops, fabric in order:
            latency, throughput = found[name, hops]
            latency.append(run(options, fabric, str(options.rate)))
            throughput.append(run(options, fabric, "max"))
            print(f"round {round_ + 1}: {name}, {hops} hops", file=sys.stderr, flush=True)
    return found


def run(options, fabric, rate):
    """One run of the generator."""
    command = [options.loadgen, "run", "--target", fabric.first, "--subscribers-at", fabric.last]
    command += ["--rate", rate, "--duration", str(options.duration), "--warm-up", "0.5"]
    command += ["--settle", "1", "--payload", str(options.payload), "--cpu", "none", "--json"]
    said = subprocess.run(command, capture_output=True, text=True, check=False)
    if said.returncode == 2:
        raise SystemExit(said.stderr)
    return json.loads(said.stdout)


def report(found):
    print(
        f"{'':<12}{'hops':>5}{'p50 us':>9}{'p99 us':>9}{'+p50':>8}{'+p99':>8}"
        f"{'per s':>12}{'faults':>8}"
    )
    for (name, hops), (latency, throughput) in found.items():
        alone = found[name, 0][0]
        row = [median(latency, lambda run: run["latency_us"][key]) for key in ("p50", "p99")]
        for key in ("p50", "p99"):
            added = [a["latency_us"][key] - b["latency_us"][key] for a, b in zip(latency, alone)]
            row.append(statistics.median(added))
        per_s = median(throughput, lambda run: run["throughput_per_s"])
        kinds = ("lost", "duplicated", "reordered", "corrupted")
        faults = sum(run[kind] for run in latency + throughput for kind in kinds)
        times = f"{row[0]:>9.0f}{row[1]:>9.0f}{row[2]:>8.0f}{row[3]:>8.0f}"
        print(f"{name:<12}{hops:>5}{times}{per_s:>12,.0f}{faults:>8}")


def median(runs, figure):
    return statistics.median(figure(run) for run in runs)


def issue(mpreg, scratch):
    """Certificates for everybody, from one authority."""
    authority = scratch / "ca"
    subprocess.run([mpreg, "ca", "init", "--dir", authority], check=True, capture_output=True)
    for cluster in ("a", "b", "c"):
        command = [mpreg, "ca", "issue", "--dir", authority, "--cluster", cluster]
        command += ["--role", "gateway", "--out", scratch / cluster]
        subprocess.run(command, check=True, capture_output=True)


class Fabric:
    """Processes that are up, and the URLs of the first and the last."""

    def __init__(self):
        self.processes = []

    def spawn(self, command, log):
        with open(log, "wb") as output:
            self.processes.append(subprocess.Popen(command, stdout=output, stderr=output))

    def stop(self):
        for process in self.processes:
            process.terminate()
        for process in self.processes:
            process.wait()


class Mpreg(Fabric):
    """A chain of clusters of one node each."""

    def __init__(self, options, scratch, hops):
        super().__init__()
        urls, peers = [], []
        for cluster in "abc"[: hops + 1]:
            folder = scratch / f"mpreg-{hops}-{cluster}"
            folder.mkdir()
            command = [options.mpreg, "serve", "--shards", "1", "--log", "warn"]
            for door in ("listen", "admin", "nats", "peer-listen"):
                command += [f"--{door}", "127.0.0.1:0"]
            command += ["--cluster", cluster, "--peer-identity", scratch / cluster]
            command += ["--peer-clusters", "*", "--data-dir", folder]
            command += ["--ready-file", folder / "ready.json"]
            command += ["--join", peers[-1]] if peers else []
            self.spawn(command, folder / "log")
            ready = wait_for(lambda path=folder / "ready.json": read_json(path), folder / "log")
            urls.append(ready["nats"])
            peers.append(ready["peer"].split("://")[1])
        self.first, self.last = urls[0], urls[-1]
        time.sleep(SETTLE_S)


class Nats(Fabric):
    """One server; two clusters joined by gateways; and a second server in the second of these."""

    def __init__(self, options, scratch, hops):
        super().__init__()
        ports = [[free_port() for _ in range(4)] for _ in range(hops + 1)]
        places = ["a", "b", "b"][: hops + 1]
        for at, (cluster, (client, gateway, route, http)) in enumerate(zip(places, ports)):
            folder = scratch / f"nats-{hops}-{at}"
            folder.mkdir()
            text = f"server_name: s{hops}{at}\nlisten: 127.0.0.1:{client}\nhttp: 127.0.0.1:{http}\n"
            if hops:
                text += self.gateway(options, scratch, cluster, gateway, ports, at)
            if cluster == "b":
                # Only the second of these dials, and gateways only the first.
                routes = f'routes: ["nats://127.0.0.1:{ports[1][2]}"]' if at == 2 else ""
                text += f"cluster {{ name: b, listen: 127.0.0.1:{route}, {routes} }}\n"
            (folder / "nats.conf").write_text(text)
            self.spawn([options.nats_server, "-c", folder / "nats.conf"], folder / "log")
            wait_for(lambda port=client: is_open(port), folder / "log")
        self.first, self.last = (f"nats://127.0.0.1:{ports[at][0]}" for at in (0, -1))
        time.sleep(SETTLE_S)

    @staticmethod
    def gateway(options, scratch, cluster, port, ports, at):
        tls = ""
        if options.tls:
            of = scratch / cluster
            tls = f'tls {{ cert_file: "{of}/node.crt", key_file: "{of}/node.key", '
            tls += f'ca_file: "{of}/ca.crt", verify: true, insecure: true }}, '
        remotes = ", ".join(
            f'{{ name: {name}, url: "nats://127.0.0.1:{ports[to][1]}" }}'
            for name, to in (("a", 0), ("b", 1))
        )
        # The third server of three is dialled by nobody: its gateway name is that of its cluster.
        return f"gateway {{ name: {cluster}, listen: 127.0.0.1:{port}, {tls}gateways: [{remotes}] }}\n"


def free_port():
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


def is_open(port):
    with socket.socket() as tried:
        return tried.connect_ex(("127.0.0.1", port)) == 0


def read_json(path):
    return json.loads(path.read_text()) if path.exists() else None


def wait_for(look, log):
    """What it finds, in time."""
    until = time.monotonic() + START_S
    while time.monotonic() < until:
        found = look()
        if found:
            return found
        time.sleep(0.02)
    raise SystemExit(f"not up: {log.read_text()}")


if __name__ == "__main__":
    main()
