#!/usr/bin/env python3
"""Shows two runs of the suites side by side, and every test whose outcome differs.

Several runs of one server may be given, separated by commas: a test that passed in some of them
and not in others is called flaky and makes no difference. `expected.json` says why a test is
known to differ; the exit status is 1 if a test differs and nothing is said about it, or if
something is said about a test that does not differ.
"""

import argparse
import json
import pathlib
import sys

import outcome

MISSING = "missing"
FLAKY = "flaky"
COLUMNS = (*outcome.OUTCOMES, FLAKY)

EXPECTED = pathlib.Path(__file__).with_name("expected.json")


def main():
    options = parse()
    left, right = merged(options.left), merged(options.right)
    expected = json.loads(EXPECTED.read_text())
    print(f"left:  {left['server']}\nright: {right['server']}\n")
    tables(left, right)
    found = differences(left, right)
    unexplained = report(found, right, expected)
    idle = stale(found, right, expected)
    for key in idle:
        print(f"does not differ, but expected.json says why: {' / '.join(key)}")
    sys.exit(1 if unexplained or idle else 0)


def parse():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("left", help="results, comma-separated: the server taken as the rule")
    parser.add_argument("right", help="results, comma-separated: the server under test")
    return parser.parse_args()


def merged(paths):
    """One run of several: a test's outcome, or flaky."""
    runs = [outcome.load(path) for path in paths.split(",")]
    tests = {}
    for run in runs:
        for suite, found in run["suites"].items():
            for file, cases in found["files"].items():
                for name, test in cases.items():
                    tests.setdefault((suite, file, name), []).append(test)
    return {
        "server": runs[0]["server"],
        "tests": {key: settled(of) for key, of in tests.items()},
    }


def settled(tests):
    outcomes = {test["outcome"] for test in tests}
    detail = next((test["detail"] for test in tests if test["detail"]), "")
    return {"outcome": outcomes.pop() if len(outcomes) == 1 else FLAKY, "detail": detail}


def tables(left, right):
    suites = dict.fromkeys(key[0] for key in [*left["tests"], *right["tests"]])
    head = "".join(f"{column:>9}" for column in COLUMNS)
    for suite in suites:
        print(f"{suite}\n  {'file':<42}{head}   |{head}")
        files = dict.fromkeys(
            k[1] for k in [*left["tests"], *right["tests"]] if k[0] == suite
        )
        for file in files:
            print(f"  {file:<42}{counts(left, suite, file)}   |{counts(right, suite, file)}")
        print(f"  {'all':<42}{counts(left, suite)}   |{counts(right, suite)}\n")


def counts(run, suite, file=None):
    total = dict.fromkeys(COLUMNS, 0)
    for key, test in run["tests"].items():
        if key[0] == suite and file in (None, key[1]):
            total[test["outcome"]] += 1
    return "".join(f"{total[column]:>9}" for column in COLUMNS)


def differences(left, right):
    """Key to both outcomes, for every test that ran on one side and differs on the other."""
    found = {}
    for key in dict.fromkeys([*left["tests"], *right["tests"]]):
        a = left["tests"].get(key, {"outcome": MISSING})["outcome"]
        b = right["tests"].get(key, {"outcome": MISSING})["outcome"]
        if a != b and FLAKY not in (a, b):
            found[key] = (a, b)
    return found


def reason(expected, key):
    return expected.get(key[0], {}).get(key[1], {}).get(key[2])


def report(found, right, expected):
    """Prints the differences; how many of them nobody has explained."""
    unexplained = 0
    for key, (a, b) in found.items():
        why = reason(expected, key)
        unexplained += why is None
        print(f"{a} -> {b}: {' / '.join(key)}\n    {why or 'UNEXPLAINED'}")
        if why is None:
            detail = right["tests"].get(key, {"detail": ""})["detail"]
            print("\n".join(f"      {line}" for line in detail.splitlines()[:10]))
    print(f"\n{len(found)} differ, {unexplained} of them unexplained")
    return unexplained


def stale(found, right, expected):
    """Explained tests that ran and made no difference."""
    return [
        (suite, file, name)
        for suite, files in expected.items()
        for file, names in files.items()
        for name in names
        if (suite, file, name) in right["tests"]
        and right["tests"][(suite, file, name)]["outcome"] != FLAKY
        and (suite, file, name) not in found
    ]


if __name__ == "__main__":
    main()
