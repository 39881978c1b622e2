"""A child process in a process group of its own, ended together with whatever it started.

The suites start servers and end them themselves; a test that hangs leaves its servers behind.
They are in the child's group, so ending the group ends them and nothing else.
"""

import os
import queue
import signal
import subprocess
import threading
import time


class Ended:
    """What a finished child left: its lines, exit status and whether it was ended for silence."""

    def __init__(self, lines, status, silent, seconds):
        self.lines = lines
        self.status = status
        self.silent = silent
        self.seconds = seconds

    def text(self):
        return "\n".join(self.lines)


def run(argv, cwd, env, silence_s, total_s, noise=None):
    """Runs `argv` until it ends, is silent for `silence_s`, or has taken `total_s` in all.

    Output with `noise` in it counts as silence.
    """
    started = time.monotonic()
    child = subprocess.Popen(
        argv,
        cwd=cwd,
        env=env,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )
    chunks = queue.Queue()
    threading.Thread(target=_pump, args=(child.stdout.fileno(), chunks), daemon=True).start()
    output = bytearray()
    silent = False
    heard = started
    while True:
        patience = min(heard + silence_s, started + total_s) - time.monotonic()
        try:
            chunk = chunks.get(timeout=max(patience, 0))
        except queue.Empty:
            # A server left over keeps the pipe open when the child itself has ended.
            silent = child.poll() is None
            break
        if not chunk:
            break
        output += chunk
        if noise is None or noise not in chunk:
            heard = time.monotonic()
    if silent:
        _end_group(child.pid)
    try:
        status = child.wait(timeout=10)
    except subprocess.TimeoutExpired:
        silent = True
        status = None
    _end_group(child.pid)
    status = child.wait() if status is None else status
    lines = output.decode("utf-8", "replace").splitlines()
    return Ended(lines, status, silent, time.monotonic() - started)


def _pump(descriptor, chunks):
    while True:
        try:
            chunk = os.read(descriptor, 65536)
        except OSError:
            chunk = b""
        chunks.put(chunk)
        if not chunk:
            return


def _end_group(group):
    try:
        os.killpg(group, signal.SIGKILL)
    except ProcessLookupError:
        pass
