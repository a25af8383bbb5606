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

from agent_rl.errors import CheckFailed, ConfigError
from agent_rl_sandboxes.docker_options import DockerOptions
from agent_rl_sandboxes.image_build import DEFAULT_IMAGE, build_image
from agent_rl_sandboxes.image_packages import (
    SCIENCE_IMAGE,
    build_with,
    read_requirements,
    science_packages,
    tag_with,
)
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
    packages: Annotated[
        str | None,
        typer.Option("--with", metavar="PKG,PKG", help="An image with these packages too, such as numpy,pandas>=2."),
    ] = None,
    requirements: Annotated[
        Path | None, typer.Option("--requirements", metavar="FILE", help="As --with: a requirements file.")
    ] = None,
    science: Annotated[
        bool, typer.Option("--science", help=f"As --with: what BigCodeBench imports, as {SCIENCE_IMAGE}.")
    ] = False,
    tag: Annotated[str | None, typer.Option(help="The image's name; else one is made of the packages' names.")] = None,
) -> None:
    """Build the image that programs and agents run in. Does nothing if it is up to date.

    It holds Python with pytest and numpy. Programs that need more packages get an image of their own, made from it by
    --with, --requirements or --science. `--image NAME` and `[sandbox] image = "NAME"` use that one.
    """
    console = Console(stderr=True)

    def say(line: str) -> None:
        console.print(escape(line), highlight=False, soft_wrap=True)

    added = _packages(packages, requirements, science)
    build_image(bootstrap, DEFAULT_IMAGE if added else tag or DEFAULT_IMAGE, say, force=force and not added)
    if added:
        name = tag or (SCIENCE_IMAGE if science and added == science_packages() else tag_with(added))
        build_with(added, name, say, force=force)
        say(f'use it:  agent-rl verify ... --image {name}, or in a configuration [sandbox] image = "{name}"')


def _packages(packages: str | None, requirements: Path | None, science: bool) -> list[str]:
    """The packages that the options ask for. Raises ConfigError for a file that cannot be read."""
    named = [name.strip() for name in (packages or "").split(",") if name.strip()]
    if requirements is not None:
        try:
            named += read_requirements(requirements.read_text())
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(f"{requirements} cannot be read: {error}", key="--requirements") from None
    return [*named, *(science_packages() if science else ())]


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

    The options are those of a configuration's [sandbox] and [sandbox.docker]. Exit 0 if at least one of the two can
    run a program.
    """
    checks = asyncio.run(examine(DockerOptions(runtime=runtime, apparmor_profile=apparmor_profile), image))
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
