"""Chat templates: sandboxed Jinja, with the helpers that templates on the hub expect."""

from __future__ import annotations

import json
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import Any, NoReturn

import jinja2
import jinja2.ext
import jinja2.meta
import jinja2.nodes
import jinja2.parser
import jinja2.sandbox

from agent_rl.errors import ConfigError
from agent_rl.rollouts.growing_template import GrowingTemplate, Growth, Progress

_DATE = datetime(2025, 1, 1)
"""The date that templates get as today's. It is fixed, so that prompts do not change at midnight or between runs."""


class _GenerationBlock(jinja2.ext.Extension):
    """`{% generation %}…{% endgeneration %}` renders its body. Loss masks come from the sampled tokens instead."""

    tags = {"generation"}  # noqa: RUF012  (jinja2 declares it as an instance's set)

    def parse(self, parser: jinja2.parser.Parser) -> list[jinja2.nodes.Node]:
        next(parser.stream)
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)


_OURS = frozenset({"messages", "tools", "documents", "add_generation_prompt"})
"""The variables that `render` sets."""


class ChatTemplate:
    """A compiled chat template. Raises ConfigError if its source is not valid Jinja."""

    def __init__(self, source: str, tokens: Mapping[str, str], variables: Mapping[str, Any] | None = None) -> None:
        """`tokens` are the special tokens that the template may name, `variables` what the user sets in it.

        Raises ConfigError for a variable that the template does not use, or that is not the user's to set.
        """
        environment = jinja2.sandbox.ImmutableSandboxedEnvironment(
            trim_blocks=True, lstrip_blocks=True, extensions=[_GenerationBlock, "jinja2.ext.loopcontrols"]
        )
        environment.filters["tojson"] = _tojson  # pyright: ignore[reportUnknownMemberType]
        environment.globals.update(raise_exception=_raise_exception, strftime_now=_DATE.strftime)  # pyright: ignore
        self.source = source
        try:
            self._template = environment.from_string(source)
            free = jinja2.meta.find_undeclared_variables(environment.parse(source))
            self._growing = GrowingTemplate.of(environment, source)
        except jinja2.TemplateSyntaxError as error:
            raise ConfigError(f"line {error.lineno}: {error.message}", key="model.chat_template") from None
        chosen = variables or {}
        # Some templates give a variable its default in a statement of their own: it is free in that statement.
        free -= _OURS - {"tools"}
        for name in chosen:
            if name in _OURS or name in tokens:
                message = f"{name} is not the user's to set: the framework or the tokenizer sets it"
                raise ConfigError(message, key="model.template_variables", value=name)
            if name not in free:
                known = sorted(free - {"tools"} - set(tokens))
                message = f"the chat template has no variable {name}; it has: {', '.join(known) or 'none'}"
                raise ConfigError(message, key="model.template_variables", value=name, valid=known)
        self._variables = {**tokens, **chosen}
        self.renders_tools = "tools" in free
        """Whether the template itself tells the model which tools there are."""

    def render(
        self, messages: Sequence[Mapping[str, Any]], tools: Sequence[Mapping[str, Any]], add_generation_prompt: bool
    ) -> str:
        """The conversation's text. Raises ConfigError if the template refuses it or fails."""
        with _refusals():
            return self._template.render(self._given(messages, tools, add_generation_prompt))

    def grow(
        self, messages: Sequence[Mapping[str, Any]], tools: Sequence[Mapping[str, Any]], before: Progress | None
    ) -> Growth:
        """The text with a generation prompt, or what follows the part of the last rendering that stays as it was.

        `before`: the progress of a rendering of a part of `messages`. Raises ConfigError like `render`.
        """
        with _refusals():
            given = self._given(list(messages), tools, True)
            if self._growing is None:
                return Growth(self._template.render(given), False, 0, None)
            return self._growing.render(given, before)

    def _given(
        self, messages: Sequence[Mapping[str, Any]], tools: Sequence[Mapping[str, Any]], add_generation_prompt: bool
    ) -> dict[str, Any]:
        return {
            "messages": messages,
            "tools": tools or None,
            "documents": None,
            "add_generation_prompt": add_generation_prompt,
            **self._variables,
        }


@contextmanager
def _refusals() -> Generator[None]:
    """What a template raises becomes a ConfigError."""
    try:
        yield
    except jinja2.TemplateError as error:
        raise ConfigError(f"the template refuses this conversation: {error}", key="model.chat_template") from None
    except (TypeError, ValueError, ArithmeticError, LookupError, AttributeError) as error:
        raise ConfigError(
            f"the template fails on this conversation: {type(error).__name__}: {error}", key="model.chat_template"
        ) from None


def _tojson(
    value: Any,
    ensure_ascii: bool = False,
    indent: int | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    # Jinja's own filter escapes for HTML; this one does not.
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)


def _raise_exception(message: str) -> NoReturn:
    raise jinja2.TemplateError(message)
