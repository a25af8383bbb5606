"""Which tests run: each says by its marks what it needs; what is missing skips it, or fails it where it is required.

AGENT_RL_TESTS=quick (default) | all | full     how much is run (`pytest --all` is `all`)
AGENT_RL_REQUIRE=docker,local,gvisor,rootless,data,vllm     needs whose absence fails a test instead of skipping it
AGENT_RL_DATA=FOLDER                            where the data sets are

Under pytest-xdist (`-n 2 --dist loadgroup`) a module's tests stay in one worker, since they share what is started for
the module, unless they say another group. All tests that need vLLM share one server, and so one worker.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import time
from collections import Counter
from collections.abc import Callable, Generator
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from agent_rl.config import SandboxConfig, VllmConfig
from agent_rl.contracts import SandboxProvider
from agent_rl.errors import AgentRLError
from agent_rl.inference.vllm.server import INTERPRETER_VARIABLE, vllm_interpreter
from tests.whole_machine import sharing

pytest_plugins = ("tests.component.inference.vllm_server", "tests.component.loop.recorded_run")

_SIZES = ("quick", "all", "full")
_DATA_FILES = ("HumanEval.jsonl.gz", "gsm8k-train.jsonl.gz", "gsm8k-test.jsonl.gz")
_LAYERS = ("system", "component", "unit")
_skipped: Counter[str] = Counter()
_started = time.monotonic()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--all", action="store_true", help="run the slow tests too (as AGENT_RL_TESTS=all)")
    parser.addoption("--within", type=float, metavar="SECONDS", help="skip what has not begun by then (`make check`)")


def pytest_configure(config: pytest.Config) -> None:
    if _size(config) not in _SIZES:
        raise pytest.UsageError(f"AGENT_RL_TESTS is one of {', '.join(_SIZES)}")
    unknown = _required() - _NEEDS.keys()
    if unknown:
        raise pytest.UsageError(f"AGENT_RL_REQUIRE names {', '.join(sorted(unknown))}; known: {', '.join(_NEEDS)}")


def pytest_make_parametrize_id(val: object, argname: str) -> str | None:
    """A test's name is short, and the same in every worker: an archive's bytes hold the second of its making."""
    if isinstance(val, bytes):
        return argname
    if isinstance(val, str) and len(val) > 80:
        return val[:80]
    return None


@pytest.hookimpl(tryfirst=True)  # before pytest-xdist reads the groups
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    size = _SIZES.index(_size(config))
    named = any("::" in argument for argument in config.args)
    for item in items:
        if not named and item.get_closest_marker("full") and size < 2:
            _skip(item, "only in `make full`, or AGENT_RL_TESTS=full")
        elif not named and item.get_closest_marker("slow") and size < 1:
            _skip(item, "slow: with --all, or in `make test`")
        elif not named and item.get_closest_marker("docker") and size < 1:
            _skip(item, "needs Docker: with --all, or in `make test`")
        elif not named and item.get_closest_marker("vllm") and size < 1:
            _skip(item, "needs vLLM: with --all, or in `make test`")
        if item.get_closest_marker("vllm"):
            item.add_marker(pytest.mark.xdist_group("vllm"))
        elif not item.get_closest_marker("xdist_group"):
            item.add_marker(pytest.mark.xdist_group(item.nodeid.partition("::")[0]))
    if _has_workers(config):
        # What takes long begins first, so that no worker is left alone with it at the end.
        items.sort(key=lambda item: _layer(item.nodeid))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_node_collection_finished(node: Any, ids: list[str]) -> None:
    """Ends where the groups have no effect: what a module's tests share would be started once in each worker."""
    if node.config.getoption("dist") == "loadgroup" and not all("@" in name for name in ids):
        pytest.exit("pytest-xdist does not see the groups of this pytest: install `.[dev]` again", returncode=4)


def _has_workers(config: pytest.Config) -> bool:
    """Whether this process is one of several of pytest-xdist's, and no order was asked for by naming files."""
    return hasattr(config, "workerinput") and not any(argument.endswith(".py") for argument in config.args)


def _layer(nodeid: str) -> int:
    """Where the test's layer stands in the order of running."""
    parts = nodeid.split("/")
    return _LAYERS.index(parts[1]) if len(parts) > 2 and parts[1] in _LAYERS else len(_LAYERS)


def _skip(item: pytest.Item, reason: str) -> None:
    item.add_marker(pytest.mark.skip(reason=reason))


def pytest_runtest_setup(item: pytest.Item) -> None:
    """A test whose need is not met is skipped, or fails where the need is required; asked once per session."""
    if any(mark.name == "skip" for mark in item.iter_markers()):
        return
    within = item.config.getoption("--within")
    if within is not None and time.monotonic() - _started > within:
        pytest.skip(f"not begun within {within:.0f} s: `make test` runs it")
    for need, (mark, missing) in _NEEDS.items():
        if item.get_closest_marker(mark) is None:
            continue
        reason = missing()
        if reason is None:
            continue
        if need in _required():
            pytest.fail(f"AGENT_RL_REQUIRE names {need}, and it is missing: {reason}", pytrace=False)
        pytest.skip(f"{need}: {reason}")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, Any, Any]:
    """While a test runs, no other process's has the machine alone."""
    with sharing():
        return (yield)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Generator[None, Any, Any]:
    """A test of a required need that skips itself fails too: it could not run."""
    report: pytest.TestReport = yield
    if report.skipped and not hasattr(report, "wasxfail") and not item.get_closest_marker("skip"):
        for need, (mark, _) in _NEEDS.items():
            if need in _required() and item.get_closest_marker(mark):
                reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
                if os.geteuid() != 0 and "root" in reason:
                    continue  # what only root can do is no lack of this machine's
                report.outcome = "failed"
                report.longrepr = f"AGENT_RL_REQUIRE names {need}, and this test could not run: {reason}"
    return report


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    if report.skipped and isinstance(report.longrepr, (tuple, list)):
        _skipped[report.longrepr[2].removeprefix("Skipped: ")] += 1


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """What was skipped and why, one line a reason."""
    if _skipped:
        terminalreporter.write_sep("-", "skipped, and why")
        for reason, count in _skipped.most_common():
            first = reason.strip().splitlines()[0]
            terminalreporter.write_line(f"{count:4d}  {first[:150]}")


def _size(config: pytest.Config) -> str:
    if config.getoption("--all"):
        return "all"
    return os.environ.get("AGENT_RL_TESTS") or "quick"


def _required() -> set[str]:
    return {part for part in os.environ.get("AGENT_RL_REQUIRE", "").split(",") if part}


@cache
def _no_docker() -> str | None:
    from agent_rl_sandboxes.docker_provider import DockerProvider

    return _unavailable(DockerProvider)


@cache
def _no_local() -> str | None:
    from agent_rl_sandboxes.local_provider import LocalProvider

    return _unavailable(LocalProvider)


def _unavailable(provider: type[SandboxProvider]) -> str | None:
    """Why the provider cannot be used; asked in an event loop of its own, outside any test's."""
    try:
        return asyncio.run(provider.available(SandboxConfig(), provider.options_class()))
    except AgentRLError as error:
        return str(error)


@cache
def _no_data() -> str | None:
    folder = os.environ.get("AGENT_RL_DATA")
    if not folder:
        return "AGENT_RL_DATA is not set: it names a folder with HumanEval and GSM8K"
    absent = [name for name in _DATA_FILES if not (Path(folder) / name).is_file()]
    return f"{folder} holds no {', '.join(absent)}" if absent else None


@cache
def _no_vllm() -> str | None:
    if vllm_interpreter(VllmConfig()) is None:
        return f"vLLM is not installed here, and {INTERPRETER_VARIABLE} names no interpreter that has it"
    return None


@cache
def _no_gvisor() -> str | None:
    if shutil.which("runsc") is None:
        return "gVisor's runsc is not installed (https://gvisor.dev/docs/user_guide/install/)"
    return _no_docker()


@cache
def _no_rootless() -> str | None:
    from tests.component.sandboxes.rootless import rootless_daemon

    url = rootless_daemon()
    return None if url is not None else "no rootless Docker daemon is this user's, nor where DOCKER_HOST says"


_NEEDS: dict[str, tuple[str, Callable[[], str | None]]] = {
    "docker": ("docker", _no_docker),
    "local": ("local_sandbox", _no_local),
    "gvisor": ("gvisor", _no_gvisor),
    "rootless": ("rootless", _no_rootless),
    "data": ("data", _no_data),
    "vllm": ("vllm", _no_vllm),
}
