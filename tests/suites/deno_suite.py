"""The suites of nats.js that run under Deno, one file at a time.

The checkout is only read. Its imports from jsr.io come from a checkout of denoland/std through an
import map written to the work folder, so that npm is the only registry asked. A test that says
nothing for a while is ended and counted as failed; the rest of its file is run without it.
"""

import json
import pathlib
import re

import child
import outcome

SILENCE_S = 90
FILE_S = 600
RESTARTS_MAX = 20

# What Deno says of a test that takes long, every minute or so.
SLOW = b"has been running for over"

PRELOAD = pathlib.Path(__file__).with_name("deno_done.js").resolve()

SUITES = {
    "nats.js core (Deno)": ["core/tests"],
    "nats.js core, certificates not verified (Deno)": ["core/unsafe_tests"],
    "nats.js services (Deno)": ["services/tests"],
    "nats.js transport-deno (Deno)": ["transport-deno/tests"],
}

NPM_VERSIONS = {
    "@nats-io/nkeys": "npm:@nats-io/nkeys@2.0.3",
    "@nats-io/nuid": "npm:@nats-io/nuid@3.0.0",
    "@nats-io/jwt": "npm:@nats-io/jwt@0.0.11",
}

ENDED = re.compile(r"^(\S.*?) \.\.\. (ok|FAILED|ignored)(?: \((.*)\))?$")
CANCELLED = re.compile(r"^\S.*? \.\.\. cancelled(?: \(.*\))?$")
BEGUN = re.compile(r"^(\S.*?) \.\.\.")
ANNOUNCED = re.compile(r"^running (\d+) tests? from ")
WORDS = {"ok": outcome.PASSED, "FAILED": outcome.FAILED, "ignored": outcome.SKIPPED}


def write_import_map(checkout, std, path):
    """Names of the modules the suites import, and where they lie here."""
    checkout, std = pathlib.Path(checkout).resolve(), pathlib.Path(std).resolve()
    imports = dict(NPM_VERSIONS)
    for package in sorted(std.glob("*/deno.json")):
        described = json.loads(package.read_text())
        exports = described.get("exports", {})
        exports = {".": exports} if isinstance(exports, str) else exports
        for name, file in exports.items():
            imports[described["name"] + name[1:]] = (package.parent / file).resolve().as_uri()
    project = json.loads((checkout / "deno.json").read_text())
    for name, file in project["scopes"]["*"].items():
        imports[name] = (checkout / file).resolve().as_uri()
    scopes = {
        (checkout / scope).resolve().as_uri() + "/": {
            name: (checkout / file).resolve().as_uri() for name, file in names.items()
        }
        for scope, names in project["scopes"].items()
        if scope != "*"
    }
    imports["nst"] = imports["@nats-io/nst"]
    path.write_text(json.dumps({"imports": imports, "scopes": scopes}, indent=1))


class DenoSuites:
    """A Deno executable, a checkout of nats.js, and where to work."""

    def __init__(self, deno, checkout, std, work, env):
        self.deno = str(deno)
        self.checkout = pathlib.Path(checkout).resolve()
        self.map = pathlib.Path(work) / "import_map.json"
        write_import_map(checkout, std, self.map)
        self.env = env | {
            "DENO_DIR": str(pathlib.Path(work) / "deno-cache"),
            "DENO_NO_PACKAGE_JSON": "1",
            "DENO_NO_UPDATE_CHECK": "1",
            "NO_COLOR": "1",
        }

    def files(self, folders):
        for folder in folders:
            for file in sorted((self.checkout / folder).glob("*_test.ts")):
                yield str(file.relative_to(self.checkout))

    def run_file(self, file):
        """Test name to what became of it."""
        tests = {}
        for _ in range(RESTARTS_MAX):
            env = self.env | {"SUITES_DONE": json.dumps(list(tests))}
            argv = self._argv(file, bool(tests))
            ended = child.run(argv, self.checkout, env, SILENCE_S, FILE_S, noise=SLOW)
            if take(ended, tests):
                break
        return tests

    def _argv(self, file, again):
        argv = [self.deno, "test", "-A", "--no-check", "--no-lock", "--no-config", "--quiet"]
        argv += ["--import-map", str(self.map)]
        if "unsafe" in file:
            argv.append("--unsafely-ignore-certificate-errors")
        if again:
            argv += ["--preload", str(PRELOAD)]
        return argv + [file]


def take(ended, tests):
    """Reads what Deno printed into `tests`; whether every test of the file is there."""
    announced, seen, running, printed = None, 0, None, False
    for line in ended.lines:
        if line == "------- output -------":
            printed = True
        elif line == "----- output end -----":
            printed = False
        elif printed:
            continue
        elif found := ANNOUNCED.match(line):
            announced = int(found[1])
        elif found := ENDED.match(line):
            outcome.put(tests, found[1], outcome.case(WORDS[found[2]], seconds(found[3])))
            seen += 1
            running = None
        elif line == " ERRORS ":
            break
        elif CANCELLED.match(line):
            continue
        elif found := BEGUN.match(line):
            running = found[1]
    for name, detail in errors(ended.lines):
        if name in tests:
            tests[name]["detail"] = detail
    if announced is None:
        outcome.put(tests, "(file)", outcome.case(outcome.FAILED, detail=ended.text()[-1500:]))
        return True
    if seen >= announced:
        return True
    if seen > 0 and not ended.silent:
        # An error nobody caught may come from a test that had ended: the others get another turn.
        return False
    why = "silent for too long, ended" if ended.silent else "ended the whole file"
    last = "\n".join(ended.lines[-20:])
    outcome.put(
        tests, running or "(file)", outcome.case(outcome.FAILED, ended.seconds, f"{why}\n{last}")
    )
    return running is None


def errors(lines):
    """Test name and message, from the list Deno prints at the end."""
    try:
        rest = lines[lines.index(" ERRORS ") + 1 :]
    except ValueError:
        return
    name, message = None, []
    for line in rest:
        found = re.match(r"^(.*) => \S+:\d+:\d+$", line)
        if found or line == " FAILURES ":
            if name:
                yield name, "\n".join(message).strip()
            if not found:
                return
            name, message = found[1], []
        else:
            message.append(line)


def seconds(text):
    """Seconds of `12ms`, `3s`, `1m2s`."""
    if not text:
        return 0.0
    units = {"ms": 0.001, "s": 1.0, "m": 60.0}
    return sum(float(n) * units[u] for n, u in re.findall(r"([\d.]+)(ms|s|m)", text))


def run(suites, only):
    """Suite name to its revision and files."""
    for name, folders in SUITES.items():
        files = {}
        for file in suites.files(folders):
            if only in f"{name} {file}":
                files[file] = suites.run_file(file)
                counts = outcome.count(files[file])
                print(f"{file}: {counts}", flush=True)
        if files:
            yield name, files

