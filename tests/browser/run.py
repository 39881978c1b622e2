#!/usr/bin/env python3
"""Has a page in a headless browser talk to a server through WebSocket, and says what came of it.

The page uses the stock client of npm, fetched into --work and never kept here. The server is any
executable called `nats-server`, started from a configuration file, once without and once with TLS.
`README.md` says more. Exit status: 0 passed, or skipped for want of a browser; 1 failed; 2 could not
be tried.
"""

import argparse
import contextlib
import http.server
import json
import os
import pathlib
import queue
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import urllib.parse

HERE = pathlib.Path(__file__).resolve().parent
PACKAGES = ["@nats-io/nats-core@3.4.0", "esbuild@0.28.2"]
BROWSERS = ["chromium", "chromium-browser", "google-chrome", "google-chrome-stable"]
START_S = 10
PAGE_S = 180


def main():
    options = parse()
    browser = options.browser or next(filter(None, map(shutil.which, BROWSERS)), None)
    if not browser:
        print("skipped: no browser (Debian: apt install chromium)")
        sys.exit(2 if options.must_run else 0)
    failed = 0
    with tempfile.TemporaryDirectory(prefix="browser-") as scratch:
        scratch = pathlib.Path(scratch)
        site = bundle(pathlib.Path(options.work).resolve(), scratch)
        for scheme, block in blocks(scratch):
            with server(options.server, scheme, block, scratch) as url:
                failed += report(url, visit(browser, site, url, scratch / f"profile-{scheme}"))
    sys.exit(1 if failed else 0)


def parse():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--server", required=True, help="a `nats-server` executable")
    parser.add_argument("--work", required=True, help="folder for packages of npm; kept")
    parser.add_argument("--browser", help="a Chromium; default: the first on PATH")
    parser.add_argument("--must-run", action="store_true", help="no browser is a failure")
    return parser.parse_args()


def bundle(work, scratch):
    """A folder with the page and its script, the client within."""
    modules = work / "node_modules"
    if not (modules / "@nats-io/nats-core").exists() or not (modules / "esbuild").exists():
        work.mkdir(parents=True, exist_ok=True)
        fetch = ["npm", "install", "--no-audit", "--no-fund", "--prefix", str(work), *PACKAGES]
        subprocess.run(fetch, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    site = scratch / "site"
    site.mkdir()
    shutil.copy(HERE / "page.html", site)
    join = [modules / ".bin/esbuild", HERE / "page.js", "--bundle", "--log-level=warning"]
    join.append(f"--outfile={site / 'bundle.js'}")
    subprocess.run(join, check=True, env={**os.environ, "NODE_PATH": str(modules)})
    return site


def blocks(scratch):
    """Scheme and `websocket` block of each server."""
    where = 'host: "127.0.0.1", port: -1'
    yield "ws", f"websocket {{ {where}, no_tls: true }}"
    certificate, key = scratch / "certificate.pem", scratch / "key.pem"
    make = ["openssl", "req", "-x509", "-nodes", "-newkey", "ec", "-pkeyopt"]
    make += ["ec_paramgen_curve:prime256v1", "-subj", "/CN=localhost", "-days", "2"]
    make += ["-addext", "subjectAltName=IP:127.0.0.1", "-keyout", key, "-out", certificate]
    subprocess.run(make, check=True, stderr=subprocess.DEVNULL)
    tls = f'tls {{ cert_file: "{certificate}", key_file: "{key}" }}'
    yield "wss", f"websocket {{ {where}, {tls} }}"


@contextlib.contextmanager
def server(executable, scheme, block, scratch):
    """Starts a server; gives the URL of its WebSocket listener."""
    folder = scratch / f"server-{scheme}"
    folder.mkdir()
    lines = f'host: "127.0.0.1"\nport: -1\nports_file_dir: "{folder}"\n{block}\n'
    (folder / "server.conf").write_text(lines)
    command = [executable, "-c", folder / "server.conf"]
    with open(folder / "log", "wb") as log:
        child = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    try:
        port = websocket_port(child, folder)
        yield f"{scheme}://127.0.0.1:{port}"
    finally:
        child.terminate()
        try:
            child.wait(timeout=START_S)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()


def websocket_port(child, folder):
    deadline = time.monotonic() + START_S
    while time.monotonic() < deadline and child.poll() is None:
        for file in folder.glob("*.ports"):
            try:
                url = json.loads(file.read_text())["websocket"][0]
            except (ValueError, KeyError, IndexError):
                continue
            return urllib.parse.urlsplit(url).port
        time.sleep(0.02)
    print(f"the server names no WebSocket port: {(folder / 'log').read_text()[-2000:]}")
    sys.exit(2)


def visit(browser, site, url, profile):
    """Has the browser load the page; gives what the page found, or None."""
    found = queue.Queue()
    listener = http.server.ThreadingHTTPServer(("127.0.0.1", 0), page(site, found))
    threading.Thread(target=listener.serve_forever, daemon=True).start()
    address = f"http://127.0.0.1:{listener.server_port}/page.html"
    command = [browser, "--headless=new", "--disable-gpu", "--no-first-run", "--disable-sync"]
    command += ["--disable-background-networking", "--disable-dev-shm-usage"]
    # The certificate is made for this run, so nobody vouches for it.
    command += ["--ignore-certificate-errors", f"--user-data-dir={profile}"]
    if os.geteuid() == 0:
        command.append("--no-sandbox")
    command.append(f"{address}?{urllib.parse.urlencode({'server': url})}")
    log = open(profile.with_suffix(".log"), "wb")
    child = subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
    )
    try:
        return wait(found, child, profile.with_suffix(".log"))
    finally:
        end_group(child)
        listener.shutdown()
        log.close()


def wait(found, child, log):
    deadline = time.monotonic() + PAGE_S
    while time.monotonic() < deadline and child.poll() is None:
        try:
            return found.get(timeout=0.5)
        except queue.Empty:
            continue
    print(f"the page said nothing: {log.read_text(errors='replace')[-2000:]}")
    return None


def end_group(child):
    """The browser is many processes in one group."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(child.pid, signal.SIGKILL)
    child.wait()


def page(site, found):
    """Serves the page and takes its outcomes."""

    class Page(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *args):
            super().__init__(*args, directory=site)

        def do_POST(self):
            body = self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(204)
            self.end_headers()
            found.put(json.loads(body))

        def log_message(self, *_):
            pass

    return Page


def report(url, outcomes):
    """Prints outcomes; says how many failed."""
    scheme = url.split(":")[0]
    if not outcomes:
        return 1
    for outcome in outcomes:
        print(f"{scheme:4}{'FAILED' if outcome['failure'] else 'passed'}  {outcome['name']}")
        if outcome["failure"]:
            print("            " + outcome["failure"].replace("\n", "\n            "))
    failed = sum(1 for outcome in outcomes if outcome["failure"])
    print(f"{scheme:4}{len(outcomes) - failed} passed, {failed} failed")
    return failed


if __name__ == "__main__":
    main()
