"""`agent-rl doctor`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from agent_rl.cli.options import JsonOption, SetOptions
from agent_rl.errors import CheckFailed


def doctor(
    config: Annotated[Path, typer.Argument(metavar="CONFIG", help="The run's TOML file.")],
    settings: SetOptions = None,
    json_file: JsonOption = None,
) -> None:
    """Check everything that a run needs, before it starts.

    It checks the configuration, the installed packages, memory, disk and cores, the servers, the sandbox, the
    environments and tasks, the chat template, and the train-inference log-prob mismatch. To do so, it judges an oracle
    solution in the sandbox, and starts the learner and the policy. Each check that fails says how to fix it. Exit 1 if
    a check fails, 2 for a mistake in CONFIG, such as a GPU that does not exist.
    """
    from rich.console import Console

    from agent_rl.cli.checks import DoctorCheck, run_checks
    from agent_rl.cli.options import write_json
    from agent_rl.cli.run_coroutine import run
    from agent_rl.config import load_config
    from agent_rl.inference.required_devices import require_devices

    resolved = load_config(config, settings or ())
    require_devices(resolved)
    console = Console(highlight=False)

    def tell(check: DoctorCheck) -> None:
        console.print(f"{check.mark} {check.name}: {check.detail}", markup=False, soft_wrap=True)

    checks = run(run_checks(resolved, tell))
    failed = [c for c in checks if c.failed]
    rows = [{"name": c.name, "ok": not c.failed, "detail": c.detail} for c in checks]
    write_json(json_file, {"schema_version": 1, "ok": not failed, "checks": rows})
    if failed:
        raise CheckFailed(f"{len(failed)} of {len(checks)} checks failed: {', '.join(c.name for c in failed)}")
    print("this run can start")
