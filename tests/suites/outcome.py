"""What became of every test of a run, and how it is written down.

A run is a dict: `server` (what the server says of itself), `suites`: name of the suite to
`revision` and `files`: name of the file to test name to `outcome`, `seconds`, `detail`.
"""

import json
import pathlib

PASSED = "passed"
FAILED = "failed"
SKIPPED = "skipped"
OUTCOMES = (PASSED, FAILED, SKIPPED)

DETAIL_CHARS_MAX = 2000


def case(outcome, seconds=0.0, detail=""):
    return {
        "outcome": outcome,
        "seconds": round(seconds, 3),
        "detail": detail[:DETAIL_CHARS_MAX],
    }


def put(tests, name, value):
    """Adds a test; a name that a file uses twice gets a number."""
    unique, number = name, 1
    while unique in tests:
        number += 1
        unique = f"{name} #{number}"
    tests[unique] = value


def count(tests):
    return {o: sum(1 for t in tests.values() if t["outcome"] == o) for o in OUTCOMES}


def save(run, folder):
    """Writes `results.json` and `results.txt` into `folder`."""
    folder = pathlib.Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "results.json").write_text(json.dumps(run, indent=1, ensure_ascii=False) + "\n")
    (folder / "results.txt").write_text(table(run))


def load(path):
    """Reads a run: the folder it was written to, or its JSON file."""
    path = pathlib.Path(path)
    return json.loads((path / "results.json" if path.is_dir() else path).read_text())


def table(run):
    """The run as text: counts per file and suite, then every test that did not pass."""
    lines = [f"server: {run['server']}", ""]
    for suite, found in run["suites"].items():
        lines.append(f"{suite}  ({found['revision']})")
        lines.append(f"  {'file':<44}{'passed':>8}{'failed':>8}{'skipped':>8}")
        total = dict.fromkeys(OUTCOMES, 0)
        for file, tests in found["files"].items():
            counts = count(tests)
            lines.append(_row(file, counts))
            total = {o: total[o] + counts[o] for o in OUTCOMES}
        lines += [_row("all", total), ""]
    for suite, found in run["suites"].items():
        for file, tests in found["files"].items():
            for name, test in tests.items():
                if test["outcome"] != PASSED:
                    lines.append(f"{test['outcome']}: {suite} / {file} / {name}")
                    lines += [f"    {line}" for line in test["detail"].splitlines()[:12]]
    return "\n".join(lines) + "\n"


def _row(name, counts):
    return f"  {name:<44}" + "".join(f"{counts[o]:>8}" for o in OUTCOMES)
