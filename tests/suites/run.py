#!/usr/bin/env python3
"""Runs the public NATS client suites against a server, and writes what became of every test.

The suites start their servers themselves: an executable called `nats-server`, found on PATH. This
puts the folder given as --server first there and leaves the suites as they are. `README.md` says
where the checkouts come from; `compare.py` shows two runs side by side.
"""

import argparse
import os
import pathlib
import subprocess
import sys
import tempfile

import cargo_suite
import deno_suite
import node_suite
import outcome
from differential import Server


def main():
    options = parse()
    server = pathlib.Path(options.server).resolve()
    if not os.access(server / "nats-server", os.X_OK):
        sys.exit(f"{server} holds no executable nats-server")
    work = pathlib.Path(options.work).resolve()
    work.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="suites-") as scratch:
        env = dict(os.environ)
        env |= {"PATH": f"{server}:{env['PATH']}", "TMPDIR": scratch, "CI": "true"}
        serves(server / "nats-server", pathlib.Path(scratch) / "probe")
        result = {"server": version(server), "suites": {}}
        for checkout, suites in chosen(options, work, env):
            for name, files in suites:
                result["suites"][name] = {"revision": revision(checkout), "files": files}
                outcome.save(result, options.out)
    print(outcome.table(result))


def parse():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--server", required=True, help="folder that holds `nats-server`")
    parser.add_argument("--out", required=True, help="folder for results.json and results.txt")
    parser.add_argument("--work", required=True, help="folder for caches and builds; kept")
    parser.add_argument("--nats-js", help="checkout of nats-io/nats.js")
    parser.add_argument("--std", help="checkout of denoland/std")
    parser.add_argument("--deno", default="deno", help="Deno executable")
    parser.add_argument("--node", help="Node executable, 22 or later; runs the Node suite too")
    parser.add_argument("--nats-rs", help="checkout of nats-io/nats.rs")
    parser.add_argument("--cargo-target", help="target folder for async-nats; default: in --work")
    parser.add_argument("--only", default="", help="only files with this in suite and file name")
    return parser.parse_args()


def chosen(options, work, env):
    """Checkout, and its suites as they finish."""
    if options.nats_js:
        if not options.std:
            sys.exit("--nats-js needs --std")
        suites = deno_suite.DenoSuites(options.deno, options.nats_js, options.std, work, env)
        yield options.nats_js, deno_suite.run(suites, options.only)
        if options.node:
            suite = node_suite.NodeSuite(
                options.node, options.nats_js, suites.deno, suites.map, work, suites.env
            )
            yield options.nats_js, node_suite.run(suite, options.only)
    if options.nats_rs:
        target = pathlib.Path(options.cargo_target or work / "target").resolve()
        suite = cargo_suite.CargoSuite(options.nats_rs, work, target, env)
        yield options.nats_rs, cargo_suite.run(suite, options.only)


def serves(executable, folder):
    """Ends the run at once, rather than every test after its own patience, if nothing serves."""
    try:
        server = Server(executable, "", folder)
        server.connect().close()
    except (RuntimeError, OSError) as error:
        sys.exit(f"{executable} does not serve: {error}")
    server.stop()


def version(server):
    said = subprocess.run(
        [server / "nats-server", "--version"], stdout=subprocess.PIPE, text=True, check=False
    )
    return said.stdout.strip() or "nats-server, version not said"


def revision(checkout):
    said = subprocess.run(
        ["git", "-C", checkout, "rev-parse", "HEAD"], stdout=subprocess.PIPE, text=True, check=False
    )
    return said.stdout.strip() or "not a git checkout"


if __name__ == "__main__":
    main()
