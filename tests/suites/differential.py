#!/usr/bin/env python3
"""Sends the same bytes to two servers and prints both answers where they differ.

`raw_cases.py` says what is sent. INFO lines are left out of the answers and compared once, as the
set of their fields; numbers in them are the server's own. The exit status is the number of cases
that differ and are not in KNOWN, where every difference that is meant to be there has its reason,
and of those in KNOWN that do not differ.
"""

import argparse
import concurrent.futures
import json
import pathlib
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time

from raw_cases import CASES, CLOSE, HELLO, IMPATIENT, NKEY, PING, PLAIN, USER

QUIET_S = 0.12
START_S = 10

BYTES = "a subject is UTF-8 without control characters, so that it can be shown, logged and sent on"
BOUND = "a subject has at most 255 bytes and 32 tokens; -ERR says so"

KNOWN = {
    "long sid": "a subscription's number that is no number has at most 64 bytes; -ERR says so",
    "sub to bytes that are not UTF-8": BYTES,
    "sub to a NUL": BYTES,
    "pub to a NUL": BYTES,
    "pub size with zeros": "sizes are spelled anew without leading zeros",
    "pub long subject": BOUND,
    "pub many tokens": BOUND,
    "pub reserved mpreg": "only the node publishes under mpreg.",
    "second CONNECT with a wrong password": "a second CONNECT changes options, never who one is",
}

# Fields of INFO that one of the two says alone, and why.
KNOWN_FIELDS = {
    "git_commit": "of a build of nats-server",
    "go": "of a build of nats-server",
    "xkey": "for callouts of authentication, which are not made",
    "jetstream": "said when it is false as well: no JetStream is what clients should know",
}


class Server:
    """A server of one configuration, and the way to connect to it."""

    def __init__(self, executable, config, folder):
        folder.mkdir()
        lines = f'host: "127.0.0.1"\nport: -1\nports_file_dir: "{folder}"\n{config}'
        (folder / "server.conf").write_text(lines)
        self.log = open(folder / "log", "wb")
        self.process = subprocess.Popen(
            [executable, "-c", folder / "server.conf"],
            stdin=subprocess.DEVNULL,
            stdout=self.log,
            stderr=self.log,
            start_new_session=True,
        )
        self.port = self._port(folder)

    def _port(self, folder):
        deadline = time.monotonic() + START_S
        while time.monotonic() < deadline and self.process.poll() is None:
            for file in folder.glob("*.ports"):
                try:
                    url = json.loads(file.read_text())["nats"][0]
                except ValueError:
                    continue
                return int(url.rsplit(":", 1)[1])
            time.sleep(0.02)
        self.stop()
        raise RuntimeError(f"no ports file: {(folder / 'log').read_text()[-2000:]}")

    def connect(self):
        return socket.create_connection(("127.0.0.1", self.port))

    def stop(self):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGKILL)
        self.process.wait()
        self.log.close()


def listen(sockets, quiet_s, answers):
    """Adds what arrives to `answers`, until nothing has for `quiet_s`."""
    deadline = time.monotonic() + quiet_s
    while time.monotonic() < deadline:
        for name, peer in list(sockets.items()):
            if peer is None:
                continue
            peer.settimeout(0.005)
            try:
                chunk = peer.recv(1 << 16)
            except TimeoutError:
                continue
            except OSError:
                chunk = b""
            answers.setdefault(name, bytearray()).extend(chunk or b"<closed>")
            if not chunk:
                peer.close()
                sockets[name] = None
            deadline = max(deadline, time.monotonic() + min(quiet_s, QUIET_S))


def play(server, steps):
    """The answers to each step: connection name to bytes."""
    sockets, transcript = {}, []
    for name, sent, *patience in steps:
        answers = {}
        if name not in sockets:
            sockets[name] = server.connect()
            listen(sockets, QUIET_S, answers)
        if sent is CLOSE:
            sockets.pop(name).close()
        elif sockets[name] is not None:
            try:
                sockets[name].sendall(sent)
            except OSError:
                pass
        listen(sockets, patience[0] if patience else QUIET_S, answers)
        transcript.append({n: without_info(bytes(a)) for n, a in sorted(answers.items())})
    for peer in sockets.values():
        if peer is not None:
            peer.close()
    return [step for step in transcript if any(step.values())]


def without_info(answer):
    return in_order(re.sub(rb"INFO \{.*?\} ?\r\n", b"", answer))


def in_order(answer):
    """Copies of one message for several subscriptions come in no promised order: sorts them."""
    frame = rb"MSG (?P<subject>\S+) \S+ (?P<size>\d+)\r\n"
    frames, rest = [], answer
    out = bytearray()
    while rest:
        found = re.match(frame, rest)
        end = found.end() + int(found["size"]) + 2 if found else 0
        about = (found["subject"], rest[found.end() : end]) if found else None
        if frames and frames[0][0] != about:
            out += b"".join(sorted(copy for _, copy in frames))
            frames = []
        if found:
            frames.append((about, rest[:end]))
            rest = rest[end:]
        else:
            line = rest.find(b"\n") + 1 or len(rest)
            out += rest[:line]
            rest = rest[line:]
    return bytes(out + b"".join(sorted(copy for _, copy in frames)))


def info(server, hello):
    """Fields of the INFO lines sent on connecting and after a first PING, with their types."""
    with server.connect() as peer:
        answers = {}
        listen({"a": peer}, QUIET_S, answers)
        peer.sendall(hello)
        listen({"a": peer}, QUIET_S, answers)
    lines = re.findall(rb"INFO (\{.*?\}) ?\r\n", bytes(answers.get("a", b"")))
    return [
        {
            key: type(value).__name__
            for key, value in sorted(json.loads(line).items())
            if key not in KNOWN_FIELDS
        }
        for line in lines
    ]


class Pair:
    """Both servers, of every configuration asked for so far."""

    def __init__(self, executables, folder):
        self.executables = executables
        self.folder = folder
        self.running = {}

    def of(self, config):
        if config not in self.running:
            number = len(self.running)
            self.running[config] = [
                Server(e, config, self.folder / f"{number}-{side}")
                for side, e in enumerate(self.executables)
            ]
        return self.running[config]

    def play(self, config, steps):
        """Both answers; both servers are asked at once."""
        servers = self.of(config)
        with concurrent.futures.ThreadPoolExecutor(len(servers)) as pool:
            return list(pool.map(lambda server: play(server, steps), servers))

    def stop(self):
        for pair in self.running.values():
            for server in pair:
                server.stop()


def main():
    options = parse()
    executables = [pathlib.Path(options.left).resolve(), pathlib.Path(options.right).resolve()]
    with tempfile.TemporaryDirectory(prefix="differential-") as scratch:
        pair = Pair(executables, pathlib.Path(scratch))
        try:
            differing = compare(pair, options)
        finally:
            pair.stop()
    sys.exit(min(differing, 100))


def compare(pair, options):
    differing = alike = 0
    for name, config, steps in CASES:
        if options.only not in name:
            continue
        try:
            left, right = pair.play(config, steps)
        except RuntimeError as error:
            left, right = "", f"did not start: {error}"
        differs = left != right
        known = KNOWN.get(name)
        differing += differs != (known is not None)
        alike += not differs
        if known and not differs:
            print(f"\n== {name} does not differ, but KNOWN says why")
        if differs or options.all:
            show(name, config, steps, left, right, known)
    if not options.only:
        differing += compare_info(pair)
    print(f"\n{alike} alike, {differing} differ without a known reason, or do not and have one")
    return differing


def show(name, config, steps, left, right, known):
    print(f"\n== {name}" + (f" (known: {known})" if known else ""))
    if config:
        print(f"   config {' '.join(config.split())[:200]}")
    for who, sent, *_ in steps:
        print(f"   {who} > {'closes' if sent is CLOSE else shorten(sent)}")
    for side, answer in (("left ", left), ("right", right)):
        print(f"   {side} {answer if isinstance(answer, str) else ''}")
        for step in answer if isinstance(answer, list) else []:
            for who, got in step.items():
                print(f"      {who} < {shorten(got)}")


def shorten(data):
    text = repr(bytes(data))[2:-1]
    return text if len(text) < 400 else f"{text[:200]} ... {text[-150:]}"


def compare_info(pair):
    differing = 0
    for title, config, hello in (
        ("plain", PLAIN, HELLO + PING),
        ("user", USER, b""),
        ("nkey", NKEY, b""),
        ("impatient", IMPATIENT, HELLO + PING),
    ):
        left, right = [info(server, hello) for server in pair.of(config)]
        if left != right:
            differing += 1
            print(f"\n== INFO, {title}\n   left  {left}\n   right {right}")
    for field, why in KNOWN_FIELDS.items():
        print(f"INFO: {field} differs (known: {why})")
    return differing


def parse():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("left", help="nats-server executable taken as the rule")
    parser.add_argument("right", help="nats-server executable under test")
    parser.add_argument("--only", default="", help="only cases with this in their name")
    parser.add_argument("--all", action="store_true", help="show cases that do not differ too")
    return parser.parse_args()


if __name__ == "__main__":
    main()
