"""`make check`: lint and types, the unit tests, and the component tests of what was changed, within three minutes.

Lint and types are checked beside the unit tests. The component tests are begun with the nearest to what was changed,
until the time is over; what was not begun by then is counted and said. Exit 0 if all is well, else 1.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time

from changed_tests import ROOT, changed_files, component_tests

PYTEST = (sys.executable, "-m", "pytest", "-q")
BESIDE = ("-n", "2", "--dist", "loadgroup", "--no-loadscope-reorder")
"""Two workers, which take the files in the order in which they are named."""
SECONDS = 180.0
MARGIN = 30.0
"""Seconds before the end after which no test begins: for the longest of them, and for what has to be taken down."""


def say(text: str) -> None:
    print(f"=== {text}", flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--base", help="what to compare with: a branch or a commit")
    parser.add_argument("--seconds", type=float, default=SECONDS, help="the time for all of it")
    options = parser.parse_args()
    began = time.monotonic()
    concerned = component_tests(ROOT, changed_files(ROOT, options.base))
    with tempfile.TemporaryFile("w+") as output:
        linting = subprocess.Popen(["make", "--no-print-directory", "lint"], cwd=ROOT, stdout=output, stderr=output)
        say("unit tests")
        codes = {"unit tests": subprocess.run([*PYTEST, "tests/unit"], cwd=ROOT, check=False).returncode}
        codes["lint and types"] = linting.wait()
        say("lint and types")
        output.seek(0)
        print(output.read(), flush=True)
    left = options.seconds - MARGIN - (time.monotonic() - began)
    say(f"component tests of what was changed: {len(concerned)} files, {max(left, 0):.0f} s")
    if concerned:
        command = [*PYTEST, *BESIDE, f"--within={max(left, 0):.0f}", *concerned]
        codes["component tests"] = subprocess.run(command, cwd=ROOT, check=False).returncode
    failed = [name for name, code in codes.items() if code]
    say(f"{'failed: ' + ', '.join(failed) if failed else 'all is well'}, after {time.monotonic() - began:.0f} s")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
