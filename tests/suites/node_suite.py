"""The suite of nats.js for its Node transport, one file at a time.

Its scripts write into the checkout (npm, tsc), so the checkout is copied and built there. The build
calls `deno run` for a script whose imports are on jsr.io; a `deno` in front of the real one gives
it the same import map the Deno suites get.
"""

import pathlib
import re
import shutil
import subprocess

import child
import outcome

SILENCE_S = 120

NAME = "nats.js transport-node (Node)"

PACKAGES = ["core", "jetstream", "kv", "obj", "services", "nst", "transport-node"]

ENDED = re.compile(r"^( *)(not ok|ok) \d+ - (.*?)(?: # (SKIP|TODO).*)?$")
DURATION = re.compile(r"^ *duration_ms: ([\d.]+)$")
ERROR = re.compile(r"^ *error: (.*)$")
SUITE = re.compile(r"^ *type: 'suite'$")

SHIM = """#!/bin/sh
verb=$1
shift
exec {deno} "$verb" --no-config --no-lock --no-check --import-map {map} "$@"
"""


class NodeSuite:
    """A built copy of nats.js, and the Node that runs its tests."""

    def __init__(self, node, checkout, deno, import_map, work, env):
        self.node = node
        shims = pathlib.Path(work) / "node-shims"
        shims.mkdir(exist_ok=True)
        shim = shims / "deno"
        shim.write_text(SHIM.format(deno=deno, map=import_map))
        shim.chmod(0o755)
        self.env = env
        self.copy = pathlib.Path(work) / "nats.js"
        if not (self.copy / "transport-node" / "lib").exists():
            shutil.rmtree(self.copy, ignore_errors=True)
            shutil.copytree(checkout, self.copy, ignore=shutil.ignore_patterns(".git"))
            self._build(env | {"PATH": f"{shims}:{env['PATH']}"})

    def _build(self, env):
        npm = ["npm", "--no-audit", "--no-fund", "--loglevel=error"]
        subprocess.run([*npm, "install", "--workspaces"], cwd=self.copy, env=env, check=True)
        for package in PACKAGES:
            argv = [*npm, "run", "build", "--workspace", package]
            subprocess.run(argv, cwd=self.copy, env=env, check=True, stdout=subprocess.DEVNULL)

    def run_file(self, file):
        argv = [self.node, "--test", "--test-force-exit", "--test-reporter=tap", file]
        folder = self.copy / "transport-node"
        return take(child.run(argv, folder, self.env, SILENCE_S, SILENCE_S * 2))


def take(ended):
    """Test name to what became of it, from what Node printed. A `describe` is not a test."""
    tests = {}
    entry = None
    for line in [*ended.lines, "ok 0 - "]:
        if found := ENDED.match(line):
            if entry and not entry["suite"]:
                case = outcome.case(entry["outcome"], entry["seconds"], entry["detail"])
                outcome.put(tests, entry["name"], case)
            result = outcome.PASSED if found[2] == "ok" else outcome.FAILED
            result = outcome.SKIPPED if found[4] else result
            entry = {
                "name": found[3],
                "outcome": result,
                "seconds": 0.0,
                "detail": "",
                "suite": False,
            }
        elif entry and (found := DURATION.match(line)):
            entry["seconds"] = float(found[1]) / 1000
        elif entry and (found := ERROR.match(line)):
            entry["detail"] = found[1]
        elif entry and SUITE.match(line):
            entry["suite"] = True
    if not tests or ended.silent:
        outcome.put(tests, "(file)", outcome.case(outcome.FAILED, detail=ended.text()[-1500:]))
    return tests


def run(suite, only):
    files = {}
    for path in sorted((suite.copy / "transport-node" / "tests").glob("*_test.js")):
        file = f"tests/{path.name}"
        if only in f"{NAME} {file}" and path.name != "jetstream_test.js":
            files[file] = suite.run_file(file)
            print(f"{file}: {outcome.count(files[file])}", flush=True)
    if files:
        yield NAME, files
