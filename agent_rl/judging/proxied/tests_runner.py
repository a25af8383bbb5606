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
from importlib.machinery import ModuleSpec
from pathlib import PurePosixPath
from typing import Any

from agent_rl.judging.proxied import pytest_subset
from agent_rl.judging.proxied.fixtures import SCOPES, FixtureDefinitions, FixtureValues
from agent_rl.judging.proxied.hidden_tests import HiddenTest, import_name, is_test_file, items_of, load, names_of
from agent_rl.judging.proxied.one_test import call_setup, detail_of, last_line, run_case, skip_of
from agent_rl.judging.proxied.process_effects import PatchedModules, watched
from agent_rl.judging.proxied.pytest_subset import MonkeyPatch, OutcomeException
from agent_rl.judging.proxied.remote_objects import written_as_json
from agent_rl.judging.proxied.tests_side import HiddenTestsSession

MAX_DETAIL = 600
_CONCURRENT = (b"thread", b"concurrent", b"async")
"""Words in tests that may use the solution from several threads at a time."""


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
        self._definitions = FixtureDefinitions()
        special = {
            "tmp_path": lambda: (self._folder(), lambda: None),
            "tmp_path_factory": lambda: (types.SimpleNamespace(mktemp=self._folder), lambda: None),
            "monkeypatch": self._patching,
        }
        self._values = FixtureValues(self._definitions, special, lambda scope, act: self._finalizers[scope].append(act))
        self._finalizers: dict[str, list[Callable[[], Any]]] = {scope: [] for scope in SCOPES}
        self._place: tuple[Any, Any] = (None, None)
        self._is_set_up = False
        own = frozenset(name for path in files for name in names_of(path))
        self._patched = PatchedModules(session.patch, session.undo, own)
        self._monkey_patch = type("MonkeyPatch", (MonkeyPatch,), {"elsewhere": self._patched})

    def run(self, module: str) -> None:
        """Runs every test, with the solution as module `module`; afterwards restores the interpreter's modules."""
        modules, path, finders = dict(sys.modules), list(sys.path), list(sys.meta_path)
        try:
            with written_as_json():
                self._run(module)
        finally:
            sys.path[:], sys.meta_path[:] = path, finders
            for name in [name for name in sys.modules if name not in modules]:
                del sys.modules[name]
            sys.modules.update(modules)

    def _run(self, module: str) -> None:
        subset = sys.modules["pytest"] = pytest_subset.module()
        subset.__dict__["MonkeyPatch"] = self._monkey_patch
        # Makes modules beside the tests, such as helpers, importable as under pytest.
        folders = [import_name(path, self._files)[1] for path in self._files if path.endswith(".py")]
        sys.path[:0] = dict.fromkeys(os.path.join(self._root, folder) for folder in [*folders, ""])
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
        sys.meta_path.insert(0, _Importer(name, module.__spec__))
        if len(parts) > 1:
            types.ModuleType.__setattr__(sys.modules[".".join(parts[:-1])], parts[-1], module)

    def _all_files(self) -> None:
        for path in sorted(self._files):
            if PurePosixPath(path).name == "conftest.py":
                try:
                    module = self._load(path, lambda name, act: None)
                    self._take_plugins(module)
                except BaseException as error:
                    self._say(path, "failed", f"it cannot be loaded: {detail_of(error)}")
                    continue
                self._definitions.take(str(PurePosixPath(path).parent), module)
        named = {name.split("::")[0] for name in self._wanted}
        chosen = [p for p in sorted(self._files) if (p in named if named else is_test_file(p))]
        if not chosen:
            chosen = [p for p in sorted(self._files) if p.endswith(".py") and PurePosixPath(p).name != "conftest.py"]
        for path in chosen:
            self._file(path)

    def _load(self, path: str, attempt: "Callable[[str, Callable[[], Any]], None]") -> types.ModuleType:
        return load(path, self._files[path], attempt, import_name(path, self._files)[0])

    def _take_plugins(self, conftest: types.ModuleType) -> None:
        """The fixtures of the modules that a conftest.py names as plugins, which are files of the tests."""
        named = getattr(conftest, "pytest_plugins", ())
        for name in (named,) if isinstance(named, str) else named:
            if name not in {import_name(path, self._files)[0] for path in self._files}:
                raise LookupError(f"plugin {name!r} is not known in tests of this tier")
            self._definitions.take(".", importlib.import_module(name), plugin=True)

    def _file(self, path: str) -> None:
        try:
            module = self._load(path, self._attempt)
            self._definitions.take(path, module)
            items = items_of(path, module, self._definitions)
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
            self._is_set_up = False
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
            found = self._values.set_up(item, path, instance)
            wanted = inspect.signature(item.function).parameters
            values = {name: value for name, value in {**item.values, **found}.items() if name in wanted}
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
        if item.owner is None or self._is_set_up:
            return
        self._is_set_up = True
        call_setup(item.owner, "setup_class", item.owner)
        self._finalizers["class"].append(lambda: call_setup(item.owner, "teardown_class", item.owner))

    def _folder(self, name: str = "", numbered: bool = True) -> Any:
        import pathlib

        return pathlib.Path(tempfile.mkdtemp(prefix=name, dir=self._root))

    def _patching(self) -> "tuple[Any, Callable[[], Any]]":
        patch = self._monkey_patch()
        return patch, patch.undo

    def _close(self, scope: str) -> None:
        """Tears down what was set up for `scope` and for all scopes within it."""
        for inner in reversed(SCOPES[SCOPES.index(scope) :]):
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


class _Importer:
    """Finds the solution wherever the tests import it anew."""

    def __init__(self, name: str, spec: Any) -> None:
        self._name, self._loader = name, spec.loader

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> "ModuleSpec | None":
        return ModuleSpec(name, self._loader) if name == self._name else None


def write_files(files: "Mapping[str, bytes]", root: str = ".") -> None:
    """Writes the files to the folder `root`."""
    for path, content in files.items():
        os.makedirs(os.path.join(root, os.path.dirname(path)), exist_ok=True)
        with open(os.path.join(root, path), "wb") as file:
            file.write(content)
