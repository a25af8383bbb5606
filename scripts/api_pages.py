"""A hook of mkdocs: what is written down elsewhere is put into the pages from there.

`<!-- public names of MODULE … -->` becomes one entry for each name that `agent_rl.__all__` has from these modules, or
for each name of `__all__` of another module. `<!-- sections of the configuration -->` becomes one entry for each table
of a config. `<!-- measured block of README.md -->` becomes that block.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any, get_args, get_origin

from pydantic import BaseModel

import agent_rl

README = Path(__file__).resolve().parent.parent / "README.md"
_NAMES = re.compile(r"^<!-- public names of ([\w. ]+?) -->$", re.MULTILINE)
_MEASURED = re.compile(r"^<!-- measured: begin -->\n(.*?)^<!-- measured: end -->$", re.MULTILINE | re.DOTALL)


def names_of(modules: list[str]) -> list[str]:
    """The dotted names under which users import what `modules` make public, in order."""
    found: list[str] = []
    for module in modules:
        names = agent_rl.public_names(module)
        if names:
            found += [f"agent_rl.{name}" for name in names]
        else:
            found += [f"{module}.{name}" for name in import_module(module).__all__]
    return found


def sections(model: type[BaseModel], path: str = "", heading: str = "Top of the file") -> Iterator[str]:
    """The entry of `model`, which is the table at `path` of the file, and those of the tables in it."""
    inner: dict[str, type[BaseModel]] = {}
    for name, field in model.model_fields.items():
        for kind in (field.annotation, *get_args(field.annotation)):
            if isinstance(kind, type) and issubclass(kind, BaseModel):
                inner[name] = kind
    yield f"""\
## {heading} {{#{path or "top"}}}

::: {model.__module__}.{model.__qualname__}
    options:
      heading_level: 3
      members: {[name for name in model.model_fields if name not in inner]}
      merge_init_into_class: false
      show_bases: false
      show_if_no_docstring: true
      show_labels: false
      show_root_heading: false
      show_root_toc_entry: false
      show_symbol_type_heading: false
"""
    for name, kind in inner.items():
        inside = f"{path}.{name}".lstrip(".")
        many = get_origin(model.model_fields[name].annotation) is tuple
        yield from sections(kind, inside, f"`[[{inside}]]`" if many else f"`[{inside}]`")


def measured() -> str:
    """The README's block of measured figures. Raises ValueError if it has not exactly one."""
    (block,) = _MEASURED.findall(README.read_text(encoding="utf-8"))
    return block


def on_page_markdown(markdown: str, **_: Any) -> str:
    """The page with its markers replaced."""
    entries = _NAMES.sub(lambda found: "\n\n".join(f"::: {name}" for name in names_of(found[1].split())), markdown)
    if "<!-- sections of the configuration -->" in entries:
        entries = entries.replace("<!-- sections of the configuration -->", "\n".join(sections(agent_rl.RunConfig)))
    return entries.replace("<!-- measured block of README.md -->", measured())
