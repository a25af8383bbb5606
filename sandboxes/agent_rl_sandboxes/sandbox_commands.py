"""`agent-rl sandbox build | doctor | serve`."""

from __future__ import annotations

import asyncio
import dataclasses
import json
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from agent_rl.errors import CheckFailed
from agent_rl_sandboxes.docker_options import DockerOptions
from agent_rl_sandboxes.image_build import DEFAULT_IMAGE, build_image
from agent_rl_sandboxes.kernel_switches import SwitchCheck
from agent_rl_sandboxes.sandbox_doctor import examine, usable
from agent_rl_sandboxes.serving.serve_command import serve

SCHEMA_VERSION = 1
_COLOURS = {"ok": "green", "warning": "yellow", "failed": "red"}

sandbox_app = typer.Typer(
    help="Images, whether this machine can hold programs in, and serving.", no_args_is_help=True, rich_markup_mode=None
)
sandbox_app.command()(serve)


@sandbox_app.command()
def build(
    bootstrap: Annotated[
        bool,
        typer.Option("--bootstrap", help="From Debian packages alone (mmdebstrap), where no image registry answers."),
    ] = False,
    force: Annotated[bool, typer.Option("--force", help="Also if the image is there and up to date.")] = False,
    tag: Annotated[str, typer.Option(help="The image's name.")] = DEFAULT_IMAGE,
) -> None:
    """Build the image that programs and agents run in. Does nothing if it is up to date."""
    console = Console(stderr=True)
    build_image(bootstrap, tag, lambda line: console.print(escape(line), highlight=False), force=force)


@sandbox_app.command()
def doctor(
    json_file: Annotated[Path | None, typer.Option("--json", help="Also write the checks to this file.")] = None,
    image: Annotated[str | None, typer.Option(help="Check this image instead of the default one.")] = None,
    runtime: Annotated[str | None, typer.Option(help="Check Docker with this runtime, such as runsc (gVisor).")] = None,
    apparmor_profile: Annotated[
        str | None, typer.Option(help="Check Docker with this AppArmor profile for the containers of workers.")
    ] = None,
) -> None:
    """Check each thing that the Docker and the local sandbox need, and say how to fix it.

    The options are those of a configuration's [sandbox.docker]. Exit 0 if at least one of the two can run a program.
    """
    checks = asyncio.run(examine(DockerOptions(image=image, runtime=runtime, apparmor_profile=apparmor_profile)))
    providers = usable(checks)
    levels = {check.name.partition(":")[0]: check.isolation for check in checks if check.isolation is not None}
    if json_file is not None:
        rows = [dataclasses.asdict(check) for check in checks]
        document = {"schema_version": SCHEMA_VERSION, "usable": providers, "isolation": levels, "checks": rows}
        json_file.write_text(json.dumps(document, indent=2) + "\n")
    _show(checks, Console())
    if not providers:
        raise CheckFailed("neither Docker nor the local sandbox can run a program here: see the remedies above")
    typer.echo(f"usable: {', '.join(f'{name} (isolation {levels[name]!r})' for name in providers)}")


def _show(checks: list[SwitchCheck], console: Console) -> None:
    """One paragraph a check: its status, what was found, and how to fix it, if it needs a fix."""
    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for check in checks:
        colour = _COLOURS[check.status]
        remedy = f"\n[bold]fix:[/bold] {escape(check.remedy)}" if check.remedy and check.status != "ok" else ""
        found = f"[bold]{escape(check.name)}[/bold]  {escape(check.detail)}{remedy}"
        table.add_row(f"[{colour}]{check.status}[/{colour}]", found)
    console.print(table)
