"""`agent-rl verify`."""

from __future__ import annotations

import enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from agent_rl.cli.options import ImageOption, JsonOption, SandboxOption, sandbox_settings
from agent_rl.errors import CheckFailed, ConfigError, SandboxError

if TYPE_CHECKING:
    from agent_rl.config import SandboxConfig
    from agent_rl.evaluation.verify_solutions import VerifyReport
    from agent_rl.formats import OnInvalid, UnfinishedThinking


class OnInvalidRow(enum.StrEnum):
    """The choices of `--invalid`."""

    error = "error"
    skip = "skip"


_MOST_LINES = 10
"""The largest number of failures that are printed one by one."""


TasksArgument = Annotated[
    Path,
    typer.Argument(
        metavar="TASKS",
        help="Rows in the schema of HumanEval, MBPP, APPS or CodeContests, or of function calls, of inputs and "
        "outputs, or of pytest files (JSONL, gzipped or not); or a folder of tasks with tests. The format is told "
        "by the rows' keys.",
    ),
]
SolutionsArgument = Annotated[
    Path,
    typer.Argument(
        metavar="SOLUTIONS",
        help='Lines {"task_id": ..., "completion": ...}, several per task allowed; instead of "completion" '
        'also "files" ({path: text}), "patch" (a unified diff) or "archive" (the path of a tar or zip).',
    ),
]
IsolationOption = Annotated[
    str | None,
    typer.Option(
        metavar="LEVEL", help="Refuse a sandbox that keeps runs apart less: container (any), uid or namespaces."
    ),
]
TierOption = Annotated[
    str | None,
    typer.Option(
        metavar="TIER", help="Refuse a task whose verdict is worth less: in_process (any), proxied or values."
    ),
]
UnfinishedThinkingOption = Annotated[
    str,
    typer.Option(
        metavar="HOW",
        help="What a completion is whose thinking never ends: invalid (no answer), or read (as if it were the answer).",
    ),
]
SandboxSetOptions = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="KEY=VALUE",
        help="Another key of a configuration's [sandbox], as often as needed, such as --set docker.runtime=runsc.",
    ),
]
InvalidOption = Annotated[
    OnInvalidRow,
    typer.Option(
        "--invalid",
        help="What becomes of rows of TASKS that cannot be used, if SOLUTIONS names them or they have no id: error "
        "stops; skip leaves them out, counts them, and says why for each, as always for rows without a solution.",
    ),
]


def verify(
    tasks: TasksArgument,
    solutions: SolutionsArgument,
    json_file: JsonOption = None,
    require_all: Annotated[bool, typer.Option("--require-all", help="Exit 1 if a solution failed.")] = False,
    sandbox: SandboxOption = None,
    image: ImageOption = None,
    minimum_isolation: IsolationOption = None,
    minimum_tier: TierOption = None,
    unfinished_thinking: UnfinishedThinkingOption = "invalid",
    workers: Annotated[
        int | None,
        typer.Option("--workers", "--slots", min=1, help="Programs run at a time; by default one per core."),
    ] = None,
    settings: SandboxSetOptions = None,
    invalid: InvalidOption = OnInvalidRow.error,
) -> None:
    """Judge given solutions against hidden tests, in a sandbox, with no model and no training.

    Tests are recorded as cases once, by running them with the oracle solution in the sandbox. The expected values never
    enter the memory of a solution. Exit 0 if all solutions were judged, 1 with --require-all if one failed, 3 if some
    could not be judged. Those count as excluded, never as failed.

    \b
    Example:
      agent-rl verify HumanEval.jsonl.gz samples.jsonl --json verdicts.json
    """
    from agent_rl.cli.run_coroutine import run

    asked = {"image": image, "minimum_isolation": minimum_isolation, "minimum_tier": minimum_tier, "workers": workers}
    config = _config(sandbox, settings, {key: value for key, value in asked.items() if value is not None})
    told = _unfinished_thinking(unfinished_thinking)
    report = run(_verify(tasks, solutions, config, invalid.value, told))
    if json_file is not None:
        report.write(json_file)
    _print(report)
    _require(report, require_all)


def _unfinished_thinking(given: str) -> UnfinishedThinking:
    """The option's value. Raises ConfigError for one that there is not."""
    if given == "invalid" or given == "read":
        return given
    valid = ("invalid", "read")
    raise ConfigError("there is no such way to read it", key="--unfinished-thinking", value=given, valid=valid)


def _config(sandbox: str | None, settings: list[str] | None, asked: dict[str, Any]) -> SandboxConfig:
    """The table [sandbox] of `--set`, then of `--sandbox`, then of the options of their own. Raises ConfigError."""
    import os

    from pydantic import ValidationError

    from agent_rl.config import SandboxConfig, config_error, parse_options

    table = {"workers": os.cpu_count() or 2, **parse_options(settings, "--set")}
    for key, value in sandbox_settings(sandbox).items():
        before = table.get(key)
        table[key] = {**before, **value} if isinstance(before, dict) and isinstance(value, dict) else value
    try:
        return SandboxConfig.model_validate(table | asked)
    except ValidationError as error:
        raise config_error(error, SandboxConfig, "sandbox") from None


def _require(report: VerifyReport, require_all: bool) -> None:
    """Raises what makes the exit code of `report`: SandboxError if a solution was not judged, CheckFailed if one failed
    that had to pass."""
    code = report.exit_code(require_all=require_all)
    if code == SandboxError.exit_code:
        reason = next((r.reason for r in report.results if r.status == "excluded"), "")
        raise SandboxError(f"{report.num_excluded} solutions could not be judged: {reason}")
    if code:
        raise CheckFailed(f"{report.num_failed} solutions failed, and --require-all was given")


def _print(report: VerifyReport) -> None:
    """Prints the counts, the reasons of the first failures, and the first rows that were left out."""
    from agent_rl.formats.invalid_rows import lines_of

    print(f"passed {report.num_passed}, failed {report.num_failed}, excluded {report.num_excluded}")
    if report.tiers:
        print(f"judged at tier {', '.join(f'{tier}: {count}' for tier, count in report.tiers.items())}")
    failing = report.failing
    for line in failing[:_MOST_LINES]:
        print(f"  {line}")
    if len(failing) > _MOST_LINES:
        print(f"  and {len(failing) - _MOST_LINES} more")
    for line in lines_of([row.line() for row in report.left_out], report.tasks, _MOST_LINES):
        print(line)


async def _verify(
    tasks: Path,
    solutions: Path,
    config: SandboxConfig,
    on_invalid: OnInvalid,
    unfinished_thinking: UnfinishedThinking,
) -> VerifyReport:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

    from agent_rl.evaluation.verify_solutions import verify_files
    from agent_rl.providers import choose_provider

    console = Console(stderr=True)
    columns = (TextColumn("judging"), BarColumn(), MofNCompleteColumn())
    async with await choose_provider(config) as provider:
        with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
            bar = progress.add_task("judging", total=None)
            return await verify_files(
                tasks,
                solutions,
                provider,
                retries=config.retries,
                minimum_isolation=config.minimum_isolation,
                minimum_tier=config.minimum_tier,
                on_invalid=on_invalid,
                unfinished_thinking=unfinished_thinking,
                on_result=lambda done, total, result: progress.update(bar, completed=done, total=total),
            )
