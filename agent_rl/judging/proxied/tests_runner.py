"""Runs hidden tests in the tests' process of tier `proxied`, and reports how each ended.

It supports tests as functions, in `Test` classes and in `unittest.TestCase`s, with the marks and fixtures of
`pytest_subset`, `conftest.py` (fixtures), xunit-style setup, coroutine tests, and assert statements outside of any
function. It reports to the judge in JSON objects:

    {"test": node id, "outcome": "passed" | "failed" | "skipped" | "xfailed", "detail": text}
    {"done": count, "objects": [access paths]}      after the last test, with every object that was let in
    {"tampered": why}                               instead, if the candidate's frames were malformed

A test has passed if it ran to its end. A test that is skipped, expected to fail or not reported has not passed.

This file is standard library only, Python 3.9: its source also runs inside the sandboxes.
"""

import importlib
import inspect
import json
import os
import sys
import tempfile
import types
from collections.abc import Callable, Mapping
from pathlib import PurePosixPath
from typing import Any

from agent_rl.judging.proxied import pytest_subset
from agent_rl.judging.proxied.hidden_tests import HiddenTest, arguments_of, is_fixture, is_test_file, items_of, load
from agent_rl.judging.proxied.one_test import call_setup, detail_of, last_line, run_case, skip_of
from agent_rl.judging.proxied.process_effects import PatchedModules, watched
from agent_rl.judging.proxied.pytest_fixtures import FIXTURES
from agent_rl.judging.proxied.pytest_subset import Fixture, MonkeyPatch, OutcomeException
from agent_rl.judging.proxied.remote_objects import written_as_json
from agent_rl.judging.proxied.tests_side import HiddenTestsSession

MAX_DETAIL = 600
_CONCURRENT = (b"thread", b"concurrent", b"async")
"""Words in tests that may use the solution from several threads at a time."""
_SCOPES = ("session", "package", "module", "class", "function")


class HiddenTestsRunner:
    """One run of the tests in `files`, which are in the working directory, against the solution behind `session`."""

    def __init__(
        self,
        files: "Mapping[str, bytes]",
        wanted: "frozenset[str]",
        session: HiddenTestsSession,
        report: "Callable[[str], None]",
        root: str = ".",
    ) -> None:
        """`root` is the folder that holds the files."""
        self._files = files
        self._root = os.path.abspath(root)
        self._wanted = wanted
        self._session = session
        self._report = report
        self._count = 0
        self._noticed = 0
        self._fixtures: list[tuple[str, Fixture, Any]] = []
        self._cache: dict[tuple[int, Any], Any] = {}
        self._finalizers: dict[str, list[Callable[[], Any]]] = {scope: [] for scope in _SCOPES}
        self._place: tuple[Any, Any] = (None, None)
        own = frozenset(PurePosixPath(path).stem for path in files)
        self._patched = PatchedModules(session.patch, session.undo, own)
        self._monkey_patch = type("MonkeyPatch", (MonkeyPatch,), {"elsewhere": self._patched})

    def run(self, module: str) -> None:
        """Runs every test, with the solution as module `module`; afterwards restores the interpreter's modules."""
        modules, path = dict(sys.modules), list(sys.path)
        try:
            with written_as_json():
                self._run(module)
        finally:
            sys.path[:] = path
            for name in [name for name in sys.modules if name not in modules]:
                del sys.modules[name]
            sys.modules.update(modules)

    def _run(self, module: str) -> None:
        subset = sys.modules["pytest"] = pytest_subset.module()
        subset.__dict__["MonkeyPatch"] = self._monkey_patch
        # Makes modules beside the tests, such as helpers, importable as under pytest.
        sys.path[:0] = dict.fromkeys(os.path.join(self._root, PurePosixPath(path).parent) for path in self._files)
        sources = list(self._files.values())
        for name, word in (("unittest", b"unittest"), ("unittest.mock", b"mock")):
            if any(word in source for source in sources):
                importlib.import_module(name)
        try:
            concurrent = any(word in source for source in sources for word in _CONCURRENT)
            self._install(module, self._session.module(module, watched(sources), concurrent=concurrent))
        except BaseException as error:
            self._say("", "failed", f"the solution cannot be imported: {last_line(error)}")
        else:
            with self._patched:
                self._all_files()
                self._close("session")
            self._unnoticed("")
        if self._session.tampered is not None:
            self._report(json.dumps({"tampered": self._session.tampered[:MAX_DETAIL]}))
            return
        self._report(json.dumps({"done": self._count, "objects": sorted(self._session.seen)}))

    def _install(self, name: str, module: types.ModuleType) -> None:
        parts = name.split(".")
        for end in range(1, len(parts)):
            package = types.ModuleType(".".join(parts[:end]))
            package.__path__ = []
            sys.modules.setdefault(package.__name__, package)
        sys.modules[name] = module
        if len(parts) > 1:
            types.ModuleType.__setattr__(sys.modules[".".join(parts[:-1])], parts[-1], module)

    def _all_files(self) -> None:
        for path, source in sorted(self._files.items()):
            if PurePosixPath(path).name == "conftest.py":
                try:
                    module = load(path, source, lambda name, act: None)
                except BaseException as error:
                    self._say(path, "failed", f"it cannot be loaded: {detail_of(error)}")
                    continue
                self._take_fixtures(str(PurePosixPath(path).parent), module, None)
        named = {name.split("::")[0] for name in self._wanted}
        chosen = [p for p in sorted(self._files) if (p in named if named else is_test_file(p))]
        if not chosen:
            chosen = [p for p in sorted(self._files) if p.endswith(".py") and PurePosixPath(p).name != "conftest.py"]
        for path in chosen:
            self._file(path)

    def _file(self, path: str) -> None:
        try:
            module = load(path, self._files[path], self._attempt)
            self._take_fixtures(path, module, None)
            items = list(items_of(path, module, lambda name: self._find(name, path)))
        except BaseException as error:
            self._say(path, "failed", f"the tests cannot be loaded: {detail_of(error)}")
            self._noticed = len(self._session.spoiled)
            return
        if not self._enter_module(path, module):
            return
        for item in items:
            if not self._wanted or item.name in self._wanted:
                self._item(path, item)
        try:
            self._close("module")
            call_setup(module, "teardown_module", module)
        except BaseException as error:
            self._say(path, "failed", f"teardown_module: {detail_of(error)}")
        self._unnoticed(path)

    def _unnoticed(self, path: str) -> None:
        """Reports errors outside of every test as a failed test with the file's name."""
        for why in self._session.spoiled[self._noticed :][:1]:
            self._say(path, "failed", why)
        self._noticed = len(self._session.spoiled)

    def _enter_module(self, path: str, module: types.ModuleType) -> bool:
        try:
            if "unittest" not in sys.modules or not hasattr(module, "setUpModule"):
                call_setup(module, "setup_module", module)
        except BaseException as error:
            self._say(path, "failed", f"setup_module: {detail_of(error)}")
            return False
        return True

    # One test

    def _attempt(self, name: str, act: "Callable[[], Any]") -> None:
        """Runs `act` as the test `name`: it has passed if it runs to its end and nothing went wrong on the way."""
        if self._wanted and name not in self._wanted:
            return
        before = len(self._session.spoiled)
        outcome, detail = "passed", ""
        try:
            act()
        except OutcomeException as end:
            outcome = "skipped" if end.kind == "exit" else end.kind
            detail = str(end)
        except BaseException as error:
            outcome, detail = "failed", detail_of(error)
            if self._session.reduced and isinstance(error, (AttributeError, TypeError)):
                detail += f"; this tier hands {', '.join(self._session.reduced)} to the solution as a plain function"
        for why in self._session.spoiled[before:][:1]:
            outcome, detail = "failed", why
            self._noticed += len(self._session.spoiled) - before
        self._say(name, outcome, detail)

    def _say(self, name: str, outcome: str, detail: str = "") -> None:
        self._count += 1
        detail = detail[:MAX_DETAIL].encode("utf-8", "replace").decode()
        self._report(json.dumps({"test": name, "outcome": outcome, "detail": detail}))

    def _item(self, path: str, item: HiddenTest) -> None:
        if item.owner is not self._place[1]:
            self._close("class")
        self._place = (path, item.owner)
        skip = skip_of(item)
        if skip is not None:
            self._say(item.name, *skip)
        elif item.function is None:
            self._attempt(item.name, lambda: run_case(item))
        else:
            self._attempt(item.name, lambda: self._call(path, item))

    def _call(self, path: str, item: HiddenTest) -> None:
        try:
            self._set_up_class(item)
            instance = None if item.owner is None else item.owner()
            values = self._values(path, item, instance)
            function = item.function if instance is None else getattr(instance, item.function.__name__)
            if instance is None:
                call_setup(item.module, "setup_function", function)
            else:
                call_setup(instance, "setup_method", function)
            try:
                result = function(**values)
                if inspect.iscoroutine(result):
                    import asyncio

                    asyncio.run(result)
            finally:
                if instance is None:
                    call_setup(item.module, "teardown_function", function)
                else:
                    call_setup(instance, "teardown_method", function)
        finally:
            self._close("function")

    def _set_up_class(self, item: HiddenTest) -> None:
        key = (id(item.owner), "setup")
        if item.owner is None or key in self._cache:
            return
        self._cache[key] = True
        call_setup(item.owner, "setup_class", item.owner)
        self._finalizers["class"].append(lambda: call_setup(item.owner, "teardown_class", item.owner))

    # Fixtures

    def _take_fixtures(self, place: str, holder: Any, owner: Any) -> None:
        for value in list(vars(holder).values()):
            if is_fixture(value):
                self._fixtures.append((place, value._agent_rl_fixture, owner))

    def _find(self, name: str, path: str) -> "Fixture | None":
        """The fixture `name` that is nearest to the file, or None."""
        found = [f for place, f, _ in self._fixtures if f.name == name and _covers(place, path)]
        return found[-1] if found else None

    def _values(self, path: str, item: HiddenTest, instance: Any) -> "dict[str, Any]":
        """The test's arguments. Also sets up the fixtures that it uses without naming them."""
        own = _class_fixtures(item.owner)
        used = [m for mark in item.marks if mark.name == "usefixtures" for m in mark.args]
        used += [f.name for place, f, _ in self._fixtures if f.autouse and _covers(place, path)]
        used += [f.name for f in own.values() if f.autouse]
        for name in dict.fromkeys(used):
            self._fixture(name, path, item, instance, own)
        values = {name: item.values[name] for name in item.values if name in arguments_with_defaults(item.function)}
        for name in item.arguments:
            if name not in values:
                values[name] = self._fixture(name, path, item, instance, own)
        return values

    def _fixture(self, name: str, path: str, item: HiddenTest, instance: Any, own: "dict[str, Fixture]") -> Any:
        if name in item.values:
            return item.values[name]
        found = own.get(name) or self._find(name, path)
        if found is None:
            return self._built_in(name, item)
        parameter = item.indirect.get(name)
        key = (id(found), repr(parameter) if name in item.indirect else None)
        if key in self._cache:
            return self._cache[key]
        request = types.SimpleNamespace(
            param=parameter,
            node=types.SimpleNamespace(name=item.name),
            cls=item.owner,
            instance=instance,
            module=item.module,
            function=item.function,
            addfinalizer=self._finalizers[found.scope].append,
            getfixturevalue=lambda other: self._fixture(other, path, item, instance, own),
        )
        function = found.function
        needed = arguments_of(function)
        bound = () if name not in own or needed[:1] not in (["self"], ["cls"]) else (instance,)
        arguments = {
            n: request if n == "request" else self._fixture(n, path, item, instance, own) for n in needed[len(bound) :]
        }
        value = function(*bound, **arguments)
        if inspect.isgenerator(value):
            generator = value
            value = next(generator)
            self._finalizers[found.scope].append(lambda: next(generator, None))
        self._cache[key] = value
        self._finalizers[found.scope].append(lambda: self._cache.pop(key, None))
        return value

    def _built_in(self, name: str, item: HiddenTest) -> Any:
        if name == "tmp_path":
            import pathlib

            return pathlib.Path(tempfile.mkdtemp(dir=self._root))
        if name == "monkeypatch":
            patch = self._monkey_patch()
            self._finalizers["function"].append(patch.undo)
            return patch
        if name in FIXTURES:
            made = FIXTURES[name]()
            self._finalizers["function"].append(made.close)
            return made
        raise LookupError(f"fixture {name!r} is not known in tests of this tier")

    def _close(self, scope: str) -> None:
        """Tears down what was set up for `scope` and for all scopes within it."""
        for inner in reversed(_SCOPES[_SCOPES.index(scope) :]):
            waiting = self._finalizers[inner]
            while waiting:
                end = waiting.pop()
                try:
                    end()
                except Exception as error:
                    if inner == "function":
                        waiting.clear()
                        raise
                    self._say(str(self._place[0]), "failed", f"teardown: {detail_of(error)}")


def arguments_with_defaults(function: Any) -> "set[str]":
    """The names of all of a function's parameters."""
    return set(inspect.signature(function).parameters)


def _class_fixtures(owner: Any) -> "dict[str, Fixture]":
    found: dict[str, Fixture] = {}
    kinds: list[type] = list(owner.__mro__) if owner is not None else []
    for kind in reversed(kinds):
        for value in kind.__dict__.values():
            if is_fixture(value):
                found[value._agent_rl_fixture.name] = value._agent_rl_fixture
    return found


def _covers(place: str, path: str) -> bool:
    """Whether a fixture defined at `place` (a file, or a folder's conftest) is available to tests in `path`."""
    return place in (path, ".") or path.startswith(place + "/")


def write_files(files: "Mapping[str, bytes]", root: str = ".") -> None:
    """Writes the files to the folder `root`."""
    for path, content in files.items():
        os.makedirs(os.path.join(root, os.path.dirname(path)), exist_ok=True)
        with open(os.path.join(root, path), "wb") as file:
            file.write(content)
