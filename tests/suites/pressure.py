#!/usr/bin/env python3
"""A publisher that never waits, and a subscriber that keeps reading: who gets how much.

nats-server slows a publisher whose subscribers are behind, so that a reader which is slower than
the writer still gets everything as long as it reads. Run against both servers: each line says how
many of the messages arrived, how long that took, and how it ended. The exit status is the number
of readers that did not get all.
"""

import argparse
import pathlib
import sys
import tempfile
import threading
import time

from differential import Server

MESSAGES = 1 << 18
BURST = 256
PAYLOAD = b"x" * 1024
SENT = b"PUB foo 1024\r\n" + PAYLOAD + b"\r\n"
HEARD_BYTES = len(b"MSG foo 1 1024\r\n" + PAYLOAD + b"\r\n")
SILENCE_S = 8
READ_BYTES = 1 << 16

# Whether the publisher is the subscriber's own connection, and its pause after each read in ms.
CASES = [(True, 0), (True, 0.1), (False, 0), (False, 0.1)]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("server", nargs="+", help="nats-server executables")
    cut_off = 0
    for path in parser.parse_args().server:
        executable = pathlib.Path(path).resolve()
        print(executable)
        for own, pause_ms in CASES:
            with tempfile.TemporaryDirectory(prefix="pressure-") as scratch:
                server = Server(executable, "", pathlib.Path(scratch) / "server")
                try:
                    cut_off += not flood(server, own, pause_ms)
                finally:
                    server.stop()
    sys.exit(cut_off)


def flood(server, own, pause_ms):
    """Whether the reader got every message."""
    reader = server.connect()
    reader.recv(READ_BYTES)
    reader.sendall(b'CONNECT {"verbose":false}\r\nSUB foo 1\r\nPING\r\n')
    while not reader.recv(READ_BYTES).startswith(b"PONG"):
        pass
    writer = reader if own else server.connect()
    if not own:
        writer.sendall(b'CONNECT {"verbose":false}\r\n')
    threading.Thread(target=write, args=(writer,), daemon=True).start()
    reader.settimeout(SILENCE_S)
    began, got, last = time.monotonic(), 0, b""
    wanted = MESSAGES * HEARD_BYTES
    end = "all"
    while got < wanted:
        try:
            chunk = reader.recv(READ_BYTES)
        except OSError as error:
            end = type(error).__name__
            break
        if not chunk:
            end = f"closed after {last[-40:].lstrip(b'x')!r}"
            break
        got += len(chunk)
        last = (last + chunk)[-64:]
        time.sleep(pause_ms / 1000)
    who = "itself" if own else "another"
    messages = min(got // HEARD_BYTES, MESSAGES)
    print(
        f"  from {who:<8} pause {pause_ms:>4} ms: {messages:>7} of {MESSAGES}"
        f" in {time.monotonic() - began:5.2f} s, {end}",
        flush=True,
    )
    reader.close()
    return end == "all"


def write(writer):
    try:
        for _ in range(MESSAGES // BURST):
            writer.sendall(SENT * BURST)
    except OSError:
        pass


if __name__ == "__main__":
    main()
