"""Collects the commands. An error that leaves a command becomes one line and an exit code."""

from __future__ import annotations

import sys
import traceback
from collections.abc import Iterator, Sequence
from importlib.metadata import EntryPoint
from typing import Any

import typer
import typer.core

from agent_rl import __version__
from agent_rl.cli.bench_command import bench
from agent_rl.cli.doctor_command import doctor
from agent_rl.cli.envs_command import envs
from agent_rl.cli.eval_command import eval_command
from agent_rl.cli.experiment_command import experiment_command
from agent_rl.cli.report_command import report
from agent_rl.cli.train_command import train
from agent_rl.cli.verify_command import verify
from agent_rl.errors import AgentRLError, ConfigError
from agent_rl.records.disk_errors import full_disk
from agent_rl.registry import registered

PLUGINS = "agent_rl.commands"
INTERRUPTED = 130
"""128 + SIGINT, as shells count."""

# Some versions of typer contain their own copy of click, so the base class of its errors is looked up, not imported.
_UsageError: type[Exception] = next(c for c in typer.BadParameter.__mro__ if c.__name__ == "ClickException")

_HELP = """Train coding agents with reinforcement learning, on verdicts that cannot be forged.

\b
A first run, on two cores, in minutes:
  agent-rl train configs/quickstart.toml

Exit codes: 0 done, 1 the check failed, 2 your mistake, 3 the infrastructure failed."""


class Plugin(typer.core.TyperCommand):
    """A command of another package. It is imported at its use, so `--help` neither waits for it nor fails on it."""

    def __init__(self, name: str, point: EntryPoint) -> None:
        super().__init__(name, help=f"Commands of {point.value.partition('.')[0]}: see `agent-rl {name} --help`.")
        self._point = point

    def make_context(self, info_name: Any, args: list[str], parent: Any = None, **extra: Any) -> Any:
        try:
            app = self._point.load()
        except Exception as error:
            reason = f"{type(error).__name__}: {error}"
            raise ConfigError(f"the command {self.name} ({self._point.value}) cannot be loaded: {reason}") from error
        command = typer.main.get_group(app) if isinstance(app, typer.Typer) else app
        return command.make_context(info_name, args, parent, **extra)


class WithPlugins(typer.core.TyperGroup):
    """Our commands, and those that installed packages register under `agent_rl.commands`."""

    def list_commands(self, ctx: Any) -> list[str]:
        return [*super().list_commands(ctx), *sorted(registered(PLUGINS))]

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        own = super().get_command(ctx, cmd_name)
        point = registered(PLUGINS).get(cmd_name)
        return own if own is not None or point is None else Plugin(cmd_name, point)


def make_app() -> typer.Typer:
    """The whole command line: our commands, and those that installed packages add under `agent_rl.commands`."""
    app = typer.Typer(
        name="agent-rl",
        cls=WithPlugins,
        help=_HELP,
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
        rich_markup_mode=None,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    app.callback()(_options)
    app.command("train")(train)
    app.command("eval")(eval_command)
    app.command("verify")(verify)
    app.add_typer(envs, name="envs")
    app.add_typer(bench, name="bench")
    app.command("doctor")(doctor)
    app.command("report")(report)
    app.command("experiment")(experiment_command)
    return app


def _print_version(asked: bool) -> None:
    if asked:
        print(f"agent-rl {__version__}")
        raise typer.Exit


def _options(
    version: bool = typer.Option(
        False, "--version", help="Print the version and exit.", is_eager=True, callback=_print_version
    ),
) -> None:
    """The options before any command. `--version` takes no command; its own callback answers it."""


def main(arguments: Sequence[str] | None = None) -> int:
    """The exit code of the command in `arguments` (default: the process's). Errors are printed, never raised."""
    arguments = sys.argv[1:] if arguments is None else list(arguments)
    try:
        code = typer.main.get_command(make_app()).main(list(arguments), "agent-rl", standalone_mode=False)
        return code if isinstance(code, int) else 0
    except typer.Exit as stop:
        return stop.exit_code
    except _UsageError as mistake:
        mistake.show()  # pyright: ignore[reportAttributeAccessIssue]
        return ConfigError.exit_code
    except (KeyboardInterrupt, typer.Abort):
        _say("interrupted")
        return INTERRUPTED
    except AgentRLError as error:
        _say(f"error: {error}")
        return error.exit_code
    except BaseExceptionGroup as group:
        return _exit_code_of_group(group)
    except Exception as error:
        if full := full_disk(error):
            _say(f"error: {full}")
            return full.exit_code
        # An unknown error is a bug, ours or of a user's environment: its traceback is printed.
        traceback.print_exc()
        return AgentRLError.exit_code


def _exit_code_of_group(group: BaseExceptionGroup[BaseException]) -> int:
    """The exit code for tasks that failed together. Prints their errors; only the user's mistakes if there are any."""
    leaves = [full_disk(e) or e for e in _leaves(group)]
    known = [e for e in leaves if isinstance(e, AgentRLError)]
    if len(known) < len(leaves):
        traceback.print_exception(group)
        return AgentRLError.exit_code
    mistakes = [e for e in known if isinstance(e, ConfigError)]
    for text in dict.fromkeys(f"error: {error}" for error in mistakes or known):  # equal texts are printed once
        _say(text)
    return (mistakes or known)[0].exit_code


def _leaves(group: BaseExceptionGroup[BaseException]) -> Iterator[BaseException]:
    for error in group.exceptions:
        if isinstance(error, BaseExceptionGroup):
            yield from _leaves(error)
        else:
            yield error


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
