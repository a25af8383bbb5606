"""The tests in a file, as pytest names them: functions, methods of `Test` classes and of `unittest.TestCase`, asserts.

Assert statements at a file's top level are tests too: `test_it.py::assert 1`, `test_it.py::assert 2`, ...

This file is standard library only, Python 3.9: its source also runs inside the sandboxes.
"""

import __future__

import ast
import enum
import importlib
import inspect
import itertools
import linecache
import re
import sys
import types
from collections.abc import Callable, Collection, Iterator
from pathlib import PurePosixPath
from typing import Any

from agent_rl.judging.proxied.fixtures import SCOPES, FixtureDefinitions, arguments_of, is_fixture, parametrized
from agent_rl.judging.proxied.pytest_subset import Fixture, Mark, Parameters


class HiddenTest:
    """One test: its function and the values to call it with.

    owners: the classes that it is in, the innermost last; `owner` is that one, or None.
    shared: by scope, the fixtures' parameters that other tests may share: (fixture's name, which of its parameters).
    """

    def __init__(self, name: str, module: types.ModuleType, function: Any, owners: "tuple[Any, ...]" = ()) -> None:
        self.name = name
        self.module = module
        self.function = function
        self.owners = owners
        self.owner: Any = owners[-1] if owners else None
        self.shared: dict[str, list[tuple[str, int]]] = {}
        self.values: dict[str, Any] = {}
        self.indirect: dict[str, Any] = {}
        self.marks: list[Mark] = []

    @property
    def arguments(self) -> "list[str]":
        """The names of its parameters that have no default."""
        names = arguments_of(self.function)
        if self.owner is not None and not isinstance(self._raw, staticmethod):
            names = names[1:]
        return names[_given_by_mock(self.function) :]

    @property
    def _raw(self) -> Any:
        return inspect.getattr_static(self.owner, self.function.__name__, None)


def _given_by_mock(function: Any) -> int:
    """How many of its first arguments a test gets from `unittest.mock.patch`."""
    mock = sys.modules.get("unittest.mock")
    patchings = getattr(function, "patchings", ())
    return sum(1 for p in patchings if mock is not None and not p.attribute_name and p.new is mock.DEFAULT)


def is_test_file(path: str) -> bool:
    """Whether pytest would look for tests in it."""
    name = PurePosixPath(path).name
    return name.endswith(".py") and (name.startswith("test_") or name.endswith("_test.py"))


def import_name(path: str, files: "Collection[str]") -> "tuple[str, str]":
    """(the module's name, the folder it is found from), as under pytest: in packages, the outermost one counts."""
    parts = PurePosixPath(path).with_suffix("").parts
    at = len(parts) - 1
    while at and "/".join((*parts[:at], "__init__.py")) in files:
        at -= 1
    return ".".join(parts[at:]), "/".join(parts[:at])


def names_of(path: str) -> "list[str]":
    """The names under which a file may be imported, whichever folder above it they begin with."""
    parts = PurePosixPath(path).with_suffix("").parts
    parts = parts[:-1] if parts[-1] == "__init__" else parts
    return [".".join(parts[at:]) for at in range(len(parts))]


def load(path: str, source: bytes, attempt: "Callable[[str, Callable[[], None]], None]", name: str) -> types.ModuleType:
    """The file as the module `name`. Each top-level assert statement is a test, run by `attempt(test's name, act)`."""
    package = name.rpartition(".")[0]
    parent = importlib.import_module(package) if package else None
    module = types.ModuleType(name)
    module.__file__ = path
    module.__package__ = package
    text = source.decode()
    linecache.cache[path] = (len(text), None, text.splitlines(True), path)
    tree = ast.parse(text, path)
    sys.modules[name] = module
    if type(parent) is types.ModuleType:
        setattr(parent, name.rpartition(".")[2], module)
    flags = 0
    for statement in tree.body:
        if isinstance(statement, ast.ImportFrom) and statement.module == "__future__":
            flags |= sum(getattr(__future__, alias.name).compiler_flag for alias in statement.names)
    count = 0
    for is_assert, statements in itertools.groupby(tree.body, lambda s: isinstance(s, ast.Assert)):
        for part in [[s] for s in statements] if is_assert else [list(statements)]:
            code = compile(ast.Module(part, []), path, "exec", flags, dont_inherit=True)
            if is_assert:
                count += 1
                attempt(f"{path}::assert {count}", lambda code=code: exec(code, module.__dict__))
            else:
                exec(code, module.__dict__)
    return module


def items_of(path: str, module: types.ModuleType, definitions: FixtureDefinitions) -> "list[HiddenTest]":
    """The tests of a loaded file, in pytest's order; each set of parameters is a test of its own."""
    made: list[HiddenTest] = []
    marks = _marks(getattr(module, "pytestmark", []))
    for name, value in list(module.__dict__.items()):
        if isinstance(value, types.FunctionType) and name.startswith("test") and not is_fixture(value):
            made += _parametrized(HiddenTest(f"{path}::{name}", module, value), marks, path, definitions)
        elif type(value) is type and name.startswith("Test") and not _is_unittest(value):
            made += _of_class(f"{path}::{name}", module, (value,), marks, path, definitions)
        elif isinstance(value, type) and _is_unittest(value):
            made += _of_case(f"{path}::{name}", module, value)
    return _grouped(made, SCOPES[:-1])


def _grouped(items: "list[HiddenTest]", scopes: "tuple[str, ...]", done: "tuple[Any, ...]" = ()) -> "list[HiddenTest]":
    """The tests, with those beside each other that share a fixture's parameter while its scope lasts."""
    if not scopes:
        return items
    scope, *lower = scopes
    made: list[HiddenTest] = []
    without: list[HiddenTest] = []
    rest = list(items)
    while rest:
        item = rest.pop(0)
        owner = item.owner if scope == "class" else None
        keys = [key for key in item.shared.get(scope, []) if (scope, owner, key) not in done]
        if not keys:
            without.append(item)
            continue
        made += _grouped(without, tuple(lower))
        without = []

        def same(other: HiddenTest, key: Any = keys[-1], owner: Any = owner) -> bool:
            return key in other.shared.get(scope, []) and (scope != "class" or other.owner is owner)

        made += _grouped([item, *filter(same, rest)], scopes, (*done, (scope, owner, keys[-1])))
        rest = [other for other in rest if not same(other)]
    return made + _grouped(without, tuple(lower))


def _of_class(
    prefix: str,
    module: types.ModuleType,
    owners: "tuple[Any, ...]",
    marks: "list[Mark]",
    path: str,
    definitions: FixtureDefinitions,
) -> "Iterator[HiddenTest]":
    owner = owners[-1]
    if owner.__init__ is not object.__init__ or getattr(owner, "__test__", True) is False:
        return
    marks = marks + [mark for kind in reversed(owner.__mro__) for mark in _marks(kind.__dict__.get("pytestmark", []))]
    names = dict.fromkeys(name for kind in reversed(owner.__mro__) for name in kind.__dict__)
    for name in names:
        raw = inspect.getattr_static(owner, name)
        if isinstance(raw, type) and name.startswith("Test"):
            yield from _of_class(f"{prefix}::{name}", module, (*owners, raw), marks, path, definitions)
        function = getattr(raw, "__func__", raw)
        if isinstance(function, types.FunctionType) and name.startswith("test") and not is_fixture(function):
            item = HiddenTest(f"{prefix}::{name}", module, function, owners)
            yield from _parametrized(item, marks, path, definitions)


def _is_unittest(kind: type) -> bool:
    unittest = sys.modules.get("unittest")
    return unittest is not None and issubclass(kind, unittest.TestCase) and kind.__module__ != "unittest.case"


def _of_case(prefix: str, module: types.ModuleType, kind: type) -> "Iterator[HiddenTest]":
    import unittest

    for name in unittest.defaultTestLoader.getTestCaseNames(kind):  # type: ignore[arg-type]
        yield HiddenTest(f"{prefix}::{name}", module, None, (kind,))


def _marks(found: Any) -> "list[Mark]":
    return [m for m in (found if isinstance(found, (list, tuple)) else [found]) if isinstance(m, Mark)]


def _parametrized(
    item: HiddenTest, outer: "list[Mark]", path: str, definitions: FixtureDefinitions
) -> "Iterator[HiddenTest]":
    """The item once for each combination of its parameter sets, named as pytest names them."""
    item.marks = [*outer, *_marks(item.function.__dict__.get("pytestmark", []))]
    axes = [
        _axis(mark)
        for mark in [*item.function.__dict__.get("pytestmark", []), *reversed(outer)]
        if mark.name == "parametrize"
    ]
    # What is given directly hides the fixture of its name, and so what that one uses.
    item.values = {name: None for axis in axes for _, values, _, _ in axis for name in values}
    given = {name for axis in axes for _, values, indirect, _ in axis for name in (*values, *indirect)}
    through = [(n, fixture) for n, fixture in parametrized(definitions.used(item, path)) if n not in given]
    axes[:0] = [_fixture_axis(name, fixture) for name, fixture in through]
    # Those of fixtures come first in the name and vary slowest; then the parametrization nearest to the function.
    for chosen in itertools.product(*(enumerate(axis) for axis in axes)):
        made = HiddenTest(item.name, item.module, item.function, item.owners)
        made.marks = list(item.marks)
        for _, (_, values, indirect, own) in chosen:
            made.values.update(values)
            made.indirect.update(indirect)
            made.marks += own
        for (name, fixture), (index, _) in zip(through, chosen):  # noqa: B905
            made.shared.setdefault(fixture.scope, []).append((name, index))
        if chosen:
            made.name += f"[{'-'.join(name for _, (name, *_) in chosen)}]"
        yield made


def _fixture_axis(name: str, fixture: Fixture) -> "list[Any]":
    """The same as `_axis` for a parametrized fixture."""
    sets = [p if isinstance(p, Parameters) else Parameters((p,), None, []) for p in fixture.params or []]
    return _distinct(
        [
            (_set_name(p.name, fixture.ids, i, {name: p.values[0]}), {}, {name: p.values[0]}, p.marks)
            for i, p in enumerate(sets)
        ]
    )


def _axis(mark: Mark) -> "list[Any]":
    """(name, values, indirect values, marks) of each set of a parametrization."""
    said, sets, *_ = (*mark.args, *[mark.kwargs[k] for k in ("argnames", "argvalues") if k in mark.kwargs])
    names: list[str] = [n.strip() for n in said.split(",") if n.strip()] if isinstance(said, str) else list(said)
    indirect = mark.kwargs.get("indirect", False)
    through = names if indirect is True else list(indirect or [])
    made: list[Any] = []
    for index, given in enumerate(sets):
        own = given if isinstance(given, Parameters) else None
        alone = isinstance(said, str) and len(names) == 1
        values: Any = own.values if own is not None else (given,) if alone else given
        if len(values) != len(names):
            raise ValueError(f"parametrize: {len(values)} values for {names}")
        by_name: dict[str, Any] = dict(zip(names, values))  # noqa: B905
        name = _set_name(own.name if own else None, mark.kwargs.get("ids"), index, by_name)
        direct = {n: v for n, v in by_name.items() if n not in through}
        made.append((name, direct, {n: by_name[n] for n in through}, own.marks if own else []))
    return _distinct(made)


def _distinct(axis: "list[Any]") -> "list[Any]":
    """The choices, with a number appended to each name that is not distinct."""
    names = [choice[0] for choice in axis]
    again: dict[str, int] = {}
    made: list[Any] = []
    for name, *rest in axis:
        if names.count(name) > 1:
            again[name] = again.get(name, -1) + 1
            name = f"{name}{'_' if name[-1:].isdigit() else ''}{again[name]}"
        made.append((name, *rest))
    return made


def _set_name(own: "str | None", ids: Any, index: int, values: "dict[str, Any]") -> str:
    if own is not None:
        return own
    if ids is not None and not callable(ids):
        named = list(ids)[index]
        if named is not None:
            return _value_name(named, "id", index)
    parts: list[str] = []
    for name, value in values.items():
        said = ids(value) if callable(ids) else None
        parts.append(_value_name(value if said is None else said, name, index))
    return "-".join(parts)


def _value_name(value: Any, argument: str, index: int) -> str:
    if isinstance(value, str):
        return value.encode("unicode_escape").decode("ascii")
    if isinstance(value, bytes):
        return value.decode("ascii", "backslashreplace")
    if value is None or isinstance(value, (bool, int, float, complex)):
        return str(value)
    if isinstance(value, re.Pattern):
        return str(value.pattern)
    if isinstance(value, enum.Enum):
        return str(value)
    if isinstance(value, (type, types.FunctionType, types.BuiltinFunctionType)):
        return value.__name__
    return f"{argument}{index}"
