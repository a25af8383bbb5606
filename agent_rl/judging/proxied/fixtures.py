"""Fixtures of tests of tier `proxied`: which there are for a test, as pytest finds them, and their values.

A test sees the fixtures of its classes, its module, the `conftest.py` files above it and their plugins. Of one name the
nearest counts, and one that requests its own name gets the next of that name.

This file is standard library only, Python 3.9: its source also runs inside the sandboxes.
"""

import inspect
import types
from collections.abc import Callable, Iterator
from pathlib import PurePosixPath
from typing import Any

from agent_rl.judging.proxied.pytest_fixtures import FIXTURES
from agent_rl.judging.proxied.pytest_subset import Fixture

SCOPES = ("session", "package", "module", "class", "function")
_OPEN_ENDED = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
_NOTHING: Any = object()


def arguments_of(function: Any) -> "list[str]":
    """The names of the parameters that a caller has to give."""
    parameters = inspect.signature(function).parameters.values()
    return [p.name for p in parameters if p.default is p.empty and p.kind not in _OPEN_ENDED]


def is_fixture(value: Any) -> bool:
    return isinstance(value, types.FunctionType) and "_agent_rl_fixture" in value.__dict__


class FixtureDefinition:
    """A fixture where it is defined: in the class `owner`, or outside of classes."""

    def __init__(self, name: str, fixture: Fixture, owner: Any, attribute: str, needs: "list[str]") -> None:
        self.name, self.fixture, self.owner, self.attribute, self.needs = name, fixture, owner, attribute, needs

    def function(self, instance: Any) -> Any:
        """What makes its value for a test, whose class has this instance."""
        if self.owner is None:
            return self.fixture.function
        return getattr(instance if isinstance(instance, self.owner) else self.owner(), self.attribute)


class FixtureDefinitions:
    """All fixtures that were found so far."""

    def __init__(self) -> None:
        self._found: list[tuple[int, str, FixtureDefinition]] = []
        self._of_classes: dict[type, list[FixtureDefinition]] = {}

    def take(self, place: str, module: types.ModuleType, *, plugin: bool = False) -> None:
        """Those of a module. `place`: its file, or the folder whose tests see them."""
        rank = -1 if plugin else len(PurePosixPath(place).parts)
        for name, value in sorted(vars(module).items()):
            if is_fixture(value):
                fixture = value.__dict__["_agent_rl_fixture"]
                made = FixtureDefinition(fixture.name or name, fixture, None, name, arguments_of(value))
                self._found.append((rank, place, made))
        self._found.sort(key=lambda found: found[0])

    def seen(self, path: str, owners: "tuple[Any, ...]") -> "Iterator[FixtureDefinition]":
        """Those that a test of `path` in the classes `owners` sees, the nearest last."""
        for _, place, made in self._found:
            if place in (path, ".") or path.startswith(place + "/"):
                yield made
        for owner in owners:
            if owner not in self._of_classes:
                self._of_classes[owner] = list(_of_class(owner))
            yield from self._of_classes[owner]

    def used(self, item: Any, path: str) -> "dict[str, list[FixtureDefinition]]":
        """The fixtures that a test uses, itself or through others, in the order in which they are set up.

        By name, with all of that name; the test gets the last of them.
        """
        seen: dict[str, list[FixtureDefinition]] = {}
        for made in self.seen(path, item.owners):
            seen.setdefault(made.name, []).append(made)
        names = [name for name, all_of in seen.items() if any(made.fixture.autouse for made in all_of)]
        names += [name for mark in item.marks if mark.name == "usefixtures" for name in mark.args]
        names = list(dict.fromkeys([*names, *item.arguments]))
        for name in names:
            if name in item.values:
                continue
            for made in reversed(seen.get(name, [])):
                names += [need for need in made.needs if need not in names and need != "request"]
                if name not in made.needs:
                    break
        scope = {name: SCOPES.index(seen[name][-1].fixture.scope) if name in seen else len(SCOPES) for name in names}
        return {name: seen.get(name, []) for name in sorted(names, key=lambda name: scope[name])}


def parametrized(used: "dict[str, list[FixtureDefinition]]") -> "Iterator[tuple[str, Fixture]]":
    """The fixtures with parameters among those that a test uses."""
    for name, all_of in used.items():
        for made in reversed(all_of):
            if made.fixture.params is not None:
                yield name, made.fixture
            if made.fixture.params is not None or name not in made.needs:
                break


def _of_class(owner: type) -> "Iterator[FixtureDefinition]":
    for name in dir(owner):
        raw = inspect.getattr_static(owner, name)
        function = raw.__func__ if type(raw) in (classmethod, staticmethod) else raw
        if is_fixture(function):
            fixture = function.__dict__["_agent_rl_fixture"]
            needs = arguments_of(function)[0 if isinstance(raw, staticmethod) else 1 :]
            yield FixtureDefinition(fixture.name or name, fixture, owner, name, needs)


class _MadeValue:
    """A fixture's value, made with the parameter `param`, and what ends it."""

    def __init__(self, param: Any) -> None:
        self.value: Any = None
        self.param = param
        self.ends: list[Callable[[], Any]] = []


class FixtureValues:
    """The values of fixtures while tests run, each until its scope ends. `special`: by name, makes further ones.

    at_end: `at_end(scope, act)` has `act` called when the scope ends.
    """

    def __init__(
        self,
        definitions: FixtureDefinitions,
        special: "dict[str, Callable[[], tuple[Any, Callable[[], Any]]]]",
        at_end: "Callable[[str, Callable[[], Any]], None]",
    ) -> None:
        self._definitions = definitions
        self._special = special
        self._at_end = at_end
        self._values: dict[Any, _MadeValue] = {}

    def set_up(self, item: Any, path: str, instance: Any) -> "dict[str, Any]":
        """The values of the fixtures that a test uses, and of its parameters, by name."""
        asked = _TestSetup(item, path, instance, self._definitions.used(item, path))
        return {name: self._get(name, asked, ()) for name in list(asked.used)}

    def _get(self, name: str, asked: "_TestSetup", users: "tuple[FixtureDefinition, ...]") -> Any:
        """The value for the innermost of `users`, the fixtures that are being set up; without any, for the test."""
        if name in asked.item.values:
            return asked.item.values[name]
        if name == "request":
            return self._request(asked, users, _MadeValue(_NOTHING), _NOTHING)
        if name in asked.ready:
            return self._ready(name, asked, users)
        if name not in asked.used:
            asked.used[name] = [d for d in self._definitions.seen(asked.path, asked.item.owners) if d.name == name]
        all_of, above = asked.used[name], sum(user.name == name for user in users)
        if above >= len(all_of):
            return self._built_in(name)
        definition = all_of[-1 - above]
        asked.ready[name] = self._known(definition, asked, (*users, definition))
        return self._ready(name, asked, users)

    def _ready(self, name: str, asked: "_TestSetup", users: "tuple[FixtureDefinition, ...]") -> Any:
        made = asked.ready[name]
        if users:
            made.ends.append(lambda: self._end(users[-1]))
        return made.value

    def _known(
        self, definition: FixtureDefinition, asked: "_TestSetup", inside: "tuple[FixtureDefinition, ...]"
    ) -> _MadeValue:
        # First what it uses: where that changes, the value that was made with it ends.
        arguments = {need: self._get(need, asked, inside) for need in definition.needs if need != "request"}
        param = asked.item.indirect.get(definition.name, _NOTHING)
        known = self._values.get(definition)
        if known is not None and known.param is param:
            return known
        self._end(definition)
        return self._make(param, arguments, asked, inside)

    def _make(
        self, param: Any, arguments: "dict[str, Any]", asked: "_TestSetup", inside: "tuple[FixtureDefinition, ...]"
    ) -> _MadeValue:
        definition = inside[-1]
        made = self._values[definition] = _MadeValue(param)
        self._at_end(definition.fixture.scope, lambda: self._end(definition))
        try:
            function = definition.function(asked.instance)
            if "request" in definition.needs:
                arguments["request"] = self._request(asked, inside, made, definition)
            made.value = function(**arguments)
            if inspect.isgeneratorfunction(function):
                generator, made.value = made.value, next(made.value)
                made.ends.append(lambda: next(generator, None))
        except BaseException:
            self._end(definition)
            raise
        return made

    def _request(
        self, asked: "_TestSetup", users: "tuple[FixtureDefinition, ...]", made: _MadeValue, definition: Any
    ) -> Any:
        item = asked.item
        request = types.SimpleNamespace(
            node=types.SimpleNamespace(name=item.name.rpartition("::")[2]),
            cls=item.owner,
            instance=asked.instance,
            module=item.module,
            function=item.function,
            addfinalizer=made.ends.append,
            getfixturevalue=lambda name: self._get(name, asked, users),
        )
        if definition is _NOTHING:
            self._at_end("function", lambda: _call_all(made.ends))
        else:
            request.fixturename, request.scope = definition.name, definition.fixture.scope
        if made.param is not _NOTHING:
            request.param = made.param
        return request

    def _built_in(self, name: str) -> Any:
        """The value of a fixture that no test file defines, one for each test."""
        if name not in self._values:
            if name in self._special:
                value, end = self._special[name]()
            elif name in FIXTURES:
                value = FIXTURES[name]()
                end = value.close
            else:
                raise LookupError(f"fixture {name!r} is not known in tests of this tier")
            made = self._values[name] = _MadeValue(_NOTHING)
            made.value = value
            made.ends.append(end)
            self._at_end("function", lambda: self._end(name))
        return self._values[name].value

    def _end(self, key: Any) -> None:
        """The value is gone, and before it those that were made with it. Raises the first error of what ends them."""
        made = self._values.pop(key, None)
        if made is not None:
            _call_all(made.ends)


class _TestSetup:
    """The test for which fixtures are set up, those that it uses by name, and the values that it has already."""

    def __init__(self, item: Any, path: str, instance: Any, used: "dict[str, list[FixtureDefinition]]") -> None:
        self.item, self.path, self.instance, self.used = item, path, instance, used
        self.ready: dict[str, _MadeValue] = {}


def _call_all(ends: "list[Callable[[], Any]]") -> None:
    errors: list[Exception] = []
    while ends:
        try:
            ends.pop()()
        except Exception as error:
            errors.append(error)
    if errors:
        raise errors[0]
