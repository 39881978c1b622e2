"""The integration tests of async-nats, each test in a process of its own.

Cargo writes a lock file next to the manifest, so the checkout is copied and built there.
"""

import json
import pathlib
import shutil
import subprocess

import child
import outcome

TEST_S = 120

FEATURES = "slow_tests,websockets"

FILES = [
    "client_tests",
    "jwt_tests",
    "nkey_tests",
    "server_pool_parity_tests",
    "server_pool_tests",
    "service_tests",
    "subject_validation_test",
    "tls_tests",
    "websocket_test",
]

NAME = "async-nats core"


class CargoSuite:
    """Test executables of async-nats, built from a copy of a checkout."""

    def __init__(self, checkout, work, target, env):
        self.env = env | {
            "CARGO_TARGET_DIR": str(target),
            "CARGO_INCREMENTAL": "0",
            "RUST_BACKTRACE": "0",
            "CARGO_PROFILE_DEV_DEBUG": "0",
        }
        copy = pathlib.Path(work) / "nats.rs"
        if not copy.exists():
            shutil.copytree(
                checkout, copy, ignore=shutil.ignore_patterns(".git", "target", "Cargo.lock")
            )
        self.folder = copy / "async-nats"
        self.executables = self._build()

    def _build(self):
        argv = ["cargo", "test", "--no-run", "--message-format=json", "--features", FEATURES]
        for file in FILES:
            argv += ["--test", file]
        built = subprocess.run(
            argv, cwd=self.folder, env=self.env, stdout=subprocess.PIPE, check=True, text=True
        )
        found = {}
        for line in built.stdout.splitlines():
            message = json.loads(line)
            if message["reason"] == "compiler-artifact" and message["executable"]:
                if "test" in message["target"]["kind"]:
                    found[message["target"]["name"]] = message["executable"]
        return dict(sorted(found.items()))

    def run_file(self, executable):
        """Test name to what became of it."""
        skipped = set(self._list(executable, ["--ignored"]))
        tests = {}
        for name in self._list(executable, []):
            if name in skipped:
                outcome.put(tests, name, outcome.case(outcome.SKIPPED))
                continue
            argv = [executable, "--exact", name, "--nocapture", "--test-threads=1"]
            ended = child.run(argv, self.folder, self.env, TEST_S, TEST_S)
            passed = ended.status == 0 and not ended.silent
            detail = "" if passed else "\n".join(ended.lines[-12:])
            if ended.silent:
                detail = f"no end after {TEST_S} s\n{detail}"
            result = outcome.PASSED if passed else outcome.FAILED
            outcome.put(tests, name, outcome.case(result, ended.seconds, detail))
        return tests

    def _list(self, executable, more):
        argv = [executable, "--list", "--format", "terse", *more]
        listed = subprocess.run(
            argv, cwd=self.folder, env=self.env, stdout=subprocess.PIPE, check=True, text=True
        )
        return [l.removesuffix(": test") for l in listed.stdout.splitlines() if l.endswith(": test")]


def run(suite, only):
    """Suite name to its files, as the Deno suites give them."""
    files = {}
    for name, executable in suite.executables.items():
        if only in f"{NAME} {name}":
            files[f"{name}.rs"] = suite.run_file(executable)
            print(f"{name}.rs: {outcome.count(files[f'{name}.rs'])}", flush=True)
    if files:
        yield NAME, files
