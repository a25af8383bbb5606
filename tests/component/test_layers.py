"""What holds the layers, and what counts skipped tests: tried on small test folders, with pytest in its own process."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def run_pytest(folder: Path, *arguments: str, **environment: str) -> tuple[int, str]:
    """The exit code and the output of pytest on the tests in `folder`, with this project's settings."""
    command = [sys.executable, "-m", "pytest", "-c", str(ROOT / "pyproject.toml"), "--rootdir", str(folder)]
    options = ["-p", "no:cacheprovider", *arguments, str(folder)]
    paths = os.pathsep.join(str(ROOT / part) for part in ("", "envs", "sandboxes"))
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("AGENT_RL_", "PYTEST_"))}
    done = subprocess.run(
        [*command, *options],
        cwd=folder,
        env={**kept, "PYTHONPATH": paths, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    return done.returncode, done.stdout


UNIT = {
    "starts a process (subprocess.Popen)": "import subprocess\nsubprocess.run(['true'])",
    "starts a process (multiprocessing)": (
        "import multiprocessing\nmultiprocessing.get_context('spawn').Process(target=print).start()"
    ),
    "starts a process (os.fork)": "import os\nos.fork() or os._exit(0)",
    "asks a Docker daemon ('/nowhere/docker.sock')": (
        "import socket\nwith socket.socket(socket.AF_UNIX) as s:\n    s.connect('/nowhere/docker.sock')"
    ),
    "imports torch": "import torch",
}


def test_a_unit_test_that_breaks_the_layers_promise_fails_and_says_how(tmp_path: Path) -> None:
    unit, other = tmp_path / "unit", tmp_path / "other"
    unit.mkdir()
    other.mkdir()
    (unit / "conftest.py").write_text((ROOT / "tests/unit/conftest.py").read_text())
    # What other layers do is none of the unit layer's business, whichever comes first.
    (other / "test_other.py").write_text("import subprocess\n\ndef test_it():\n    subprocess.run(['true'])\n")
    bodies = ["def test_a_good_one():\n    pass\n"]
    for number, body in enumerate(UNIT.values()):
        lines = "".join(f"        {line}\n" for line in body.splitlines())
        # What is broken is not taken for an error of the code's own.
        bodies.append(f"def test_{number}():\n    try:\n{lines}    except Exception:\n        pass\n")
    (unit / "test_it.py").write_text("\n".join(bodies))
    fixture = "import pytest, subprocess\n@pytest.fixture(scope='module')\ndef made():\n    subprocess.run(['true'])\n"
    (unit / "test_fixture.py").write_text(f"{fixture}\ndef test_it(made):\n    pass\n")
    (unit / "test_module.py").write_text("import torch\n\ndef test_it():\n    pass\n")
    code, output = run_pytest(tmp_path, "--continue-on-collection-errors", str(unit))
    assert code == 1
    for what in UNIT:
        assert f"a unit test {what}: it belongs into tests/component or tests/system" in output
    assert f"{len(UNIT)} failed, 2 passed, 2 errors" in output


NEEDY = """
import pytest

@pytest.mark.data
@pytest.mark.parametrize("n", [1, 2])
def test_with_data(n):
    pass

@pytest.mark.slow
def test_slow():
    pass

def test_quick():
    pass
"""


@pytest.mark.parametrize("workers", [(), ("-n", "2", "--dist", "loadgroup")], ids=["one-process", "two-workers"])
def test_missing_needs_are_counted_and_fail_where_they_are_required(tmp_path: Path, workers: tuple[str, ...]) -> None:
    (tmp_path / "conftest.py").write_text((ROOT / "tests/conftest.py").read_text())
    for name in ("a", "b"):
        (tmp_path / f"test_{name}.py").write_text(NEEDY)
    code, output = run_pytest(tmp_path, *workers)
    assert code == 0
    assert "4  data: AGENT_RL_DATA is not set: it names a folder with HumanEval and GSM8K" in output
    assert "2  slow: with --all, or in `make test`" in output
    assert "2 passed, 6 skipped" in output.splitlines()[-1]
    code, output = run_pytest(tmp_path, *workers, AGENT_RL_REQUIRE="data", AGENT_RL_TESTS="all")
    assert code == 1
    assert output.count("AGENT_RL_REQUIRE names data, and it is missing: AGENT_RL_DATA is not set") >= 4
    assert "4 passed, 4 errors" in output.splitlines()[-1]


def test_what_has_not_begun_in_time_is_skipped_and_counted(tmp_path: Path) -> None:
    (tmp_path / "conftest.py").write_text((ROOT / "tests/conftest.py").read_text())
    (tmp_path / "test_it.py").write_text("def test_it():\n    pass\n")
    code, output = run_pytest(tmp_path, "--within=0")
    assert code == 0
    assert "1  not begun within 0 s: `make test` runs it" in output
