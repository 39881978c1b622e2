#!/usr/bin/env python3
"""Compares two servers with the example programs of nats.c as the generator, in turns.

The generator is the client authors' own: publisher, subscriber, requestor and replier. Reported per
workload and server: messages per second as the programs see it, and deliveries per second of
processor time the server used (utime and stime of its process, from before the first message to
after the last). Rounds alternate between the servers; medians and ranges are printed.
"""

import argparse
import os
import pathlib
import re
import statistics
import subprocess
import sys
import tempfile
import threading
import time

from differential import Server

PATIENCE_S = 120
TICKS_PER_S = os.sysconf("SC_CLK_TCK")

# Name, publishers, subscribers, bytes of a message, messages of a publisher.
STREAMS = [
    ("1:1 16 B", 1, 1, 16, 2_000_000),
    ("1:1 128 B", 1, 1, 128, 2_000_000),
    ("1:1 1024 B", 1, 1, 1024, 500_000),
    ("10:10 16 B", 10, 10, 16, 40_000),
    ("10:10 128 B", 10, 10, 128, 40_000),
    ("10:10 1024 B", 10, 10, 1024, 20_000),
    ("1:10 16 B", 1, 10, 16, 400_000),
    ("1:100 16 B", 1, 100, 16, 20_000),
]
REQUESTS = [("request 1 client", 1, 16, 40_000), ("request 50 clients", 50, 16, 1_000)]


class Bench:
    """Where the programs of nats.c lie, and how to run them against a server."""

    def __init__(self, programs, scale):
        self.programs = pathlib.Path(programs).resolve()
        self.scale = scale

    def start(self, program, port, *arguments):
        # Line by line: that a subscriber listens must be seen before messages are sent.
        argv = ["stdbuf", "-oL", self.programs / f"nats-{program}", "-s", f"nats://127.0.0.1:{port}", *arguments]
        return subprocess.Popen(
            [str(a) for a in argv], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )

    def stream(self, server, publishers, subscribers, size, messages):
        messages = max(int(messages * self.scale), 1)
        expected = messages * publishers
        listeners = [
            self.start("subscriber", server.port, "-subj", "bench", "-count", expected)
            for _ in range(subscribers)
        ]
        return self._measured(
            server, listeners, "publisher", publishers, size, messages, expected * subscribers
        )

    def request(self, server, clients, size, requests):
        requests = max(int(requests * self.scale), 1)
        expected = requests * clients
        replier = self.start("replier", server.port, "-subj", "bench", "-count", expected)
        return self._measured(
            server, [replier], "requestor", clients, size, requests, expected
        )

    def _measured(self, server, listeners, program, senders, size, messages, deliveries):
        running = list(listeners)
        timer = threading.Timer(PATIENCE_S, lambda: [p.kill() for p in running])
        timer.start()
        try:
            for listener in listeners:
                listener.stdout.readline()
            time.sleep(0.5)
            cpu_before_s, began = cpu_s(server), time.monotonic()
            arguments = ["-subj", "bench", "-count", messages, "-txt", "x" * size]
            running += [self.start(program, server.port, *arguments) for _ in range(senders)]
            said = [child.communicate()[0] for child in running]
            wall_s, used_s = time.monotonic() - began, cpu_s(server) - cpu_before_s
        finally:
            timer.cancel()
        if any(child.returncode for child in running) or used_s == 0:
            raise RuntimeError(f"{program} did not finish: {''.join(said)[-500:]}")
        took_s = max(int(ms) for s in said for ms in re.findall(r"in (\d+) milliseconds", s)) / 1000
        return {"per_s": deliveries / (took_s or wall_s), "per_cpu_s": deliveries / used_s}


def cpu_s(server):
    fields = pathlib.Path(f"/proc/{server.process.pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / TICKS_PER_S


def main():
    options = parse()
    bench = Bench(options.programs, options.scale)
    workloads = [(name, bench.stream, rest) for name, *rest in STREAMS]
    workloads += [(name, bench.request, rest) for name, *rest in REQUESTS]
    print(f"{'workload':<20}{'':>6}{'left':>34}{'right':>34}{'right/left':>12}")
    with tempfile.TemporaryDirectory(prefix="nats-c-") as scratch:
        servers = []
        try:
            for side, executable in enumerate((options.left, options.right)):
                folder = pathlib.Path(scratch) / str(side)
                servers.append(Server(pathlib.Path(executable).resolve(), "", folder))
            for name, measure, numbers in workloads:
                if options.only in name:
                    compare(name, measure, numbers, servers, options.rounds)
        finally:
            for server in servers:
                server.stop()


def compare(name, measure, numbers, servers, rounds):
    found = [[], []]
    for turn in range(rounds):
        for side in (0, 1) if turn % 2 == 0 else (1, 0):
            try:
                found[side].append(measure(servers[side], *numbers))
            except RuntimeError as error:
                print(f"{name}: side {side}: {error}", file=sys.stderr)
    for unit in ("per_s", "per_cpu_s"):
        sides = [[run[unit] for run in runs] for runs in found]
        if not all(sides):
            print(f"{name:<20} did not finish")
            return
        medians = [statistics.median(side) for side in sides]
        cells = [f"{m:,.0f} [{min(s):,.0f} {max(s):,.0f}]" for m, s in zip(medians, sides)]
        label = "/s" if unit == "per_s" else "/cpu s"
        ratio = medians[1] / medians[0]
        print(f"{name:<20}{label:>6}{cells[0]:>34}{cells[1]:>34}{ratio:>12.2f}", flush=True)


def parse():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("left", help="nats-server executable compared with")
    parser.add_argument("right", help="nats-server executable under test")
    parser.add_argument("--programs", required=True, help="folder with nats-publisher and others")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--scale", type=float, default=1.0, help="multiplies numbers of messages")
    parser.add_argument("--only", default="", help="only workloads with this in their name")
    return parser.parse_args()


if __name__ == "__main__":
    main()
