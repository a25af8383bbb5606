"""What programs do beside returning values: name -> (tests that see it, reference, right programs, wrong ones)."""

from __future__ import annotations

from textwrap import dedent

EFFECTS: dict[str, tuple[str, str, tuple[str, ...], tuple[str, ...]]] = {}


def effect(name: str, tests: str, oracle: str, *, right: tuple[str, ...] = (), wrong: tuple[str, ...] = ()) -> None:
    plain = [dedent(text).lstrip("\n") for text in (tests, oracle, *right, *wrong)]
    EFFECTS[name] = plain[0], plain[1], tuple(plain[2 : 2 + len(right)]), tuple(plain[2 + len(right) :])


effect(
    "prints",
    """
    import contextlib, io
    from unittest import mock
    from solution import greet, quiet
    def test_capsys(capsys):
        greet("a")
        assert capsys.readouterr() == ("hello a\\n", "")
        assert quiet(1) == 2
        assert capsys.readouterr().out == ""
    def test_redirected():
        out = io.StringIO()
        with contextlib.redirect_stdout(out):
            greet("b")
        assert out.getvalue() == "hello b\\n"
    @mock.patch("sys.stdout", new_callable=io.StringIO)
    def test_patched(out):
        greet("c")
        assert out.getvalue() == "hello c\\n"
    def test_print():
        with mock.patch("builtins.print") as told:
            greet("d")
        assert told.called
    """,
    "def greet(name):\n    print('hello', name)\ndef quiet(n):\n    return n + 1\n",
    right=("def greet(name):\n    print('hello ', end='')\n    print(name, flush=True)\nquiet = lambda n: n + 1\n",),
    wrong=(
        "def greet(name):\n    pass\nquiet = lambda n: n + 1\n",
        "def greet(name):\n    print('hello', name)\ndef quiet(n):\n    print(n)\n    return n + 1\n",
        "import sys\ndef greet(name):\n    sys.stdout.write(f'hello {name}\\\\n')\nquiet = lambda n: n + 1\n",
    ),
)
effect(
    "warns-and-logs",
    """
    import logging, unittest, warnings
    import pytest
    from solution import new, old
    def test_warns():
        with pytest.warns(DeprecationWarning, match="old"):
            assert old(1) == 1
        with warnings.catch_warnings(record=True) as seen:
            warnings.simplefilter("always")
            old(1), old(2)
        assert len(seen) == 2 and seen[0].category is DeprecationWarning
    def test_not():
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            assert new(1) == 1
    def test_recwarn(recwarn):
        new(2)
        assert not recwarn.list
    def test_caplog(caplog):
        caplog.set_level(logging.INFO)
        new(3)
        assert caplog.messages == ["new 3"] and caplog.records[0].levelname == "INFO"
    class Logs(unittest.TestCase):
        def test_logs(self):
            with self.assertLogs("app", level="INFO") as seen:
                new(4)
            self.assertEqual(seen.output, ["INFO:app:new 4"])
    """,
    """
    import logging, warnings
    log = logging.getLogger("app")
    def old(n):
        warnings.warn("old is old", DeprecationWarning, stacklevel=2)
        return n
    def new(n):
        log.debug("not told")
        log.info("new %s", n)
        return n
    """,
    wrong=(
        "import logging\ndef old(n):\n    return n\ndef new(n):\n    logging.getLogger('app').info(f'new {n}')\n"
        "    return n\n",
        "import logging, warnings\ndef old(n):\n    warnings.warn('old', UserWarning)\n    return n\n"
        "def new(n):\n    logging.getLogger('app').info(f'new {n}')\n    return n\n",
        "import logging, warnings\ndef old(n):\n    warnings.warn('old', DeprecationWarning)\n    return n\n"
        "def new(n):\n    warnings.warn('new')\n    logging.getLogger('app').info(f'new {n}')\n    return n\n",
        "import warnings\ndef old(n):\n    warnings.warn('old', DeprecationWarning)\n    return n\ndef new(n):\n"
        "    return n\n",
    ),
)
effect(
    "patches",
    """
    import os, random, time
    from unittest import mock
    import pytest
    import solution
    def test_not_called():
        with mock.patch("os.remove") as remove:
            assert solution.clean(["a"], dry=True) == ["a"]
            remove.assert_not_called()
            assert solution.clean(["a", "b"]) == []
            assert [call.args for call in remove.call_args_list] == [("a",), ("b",)]
    def test_builtins():
        with mock.patch("builtins.sum", side_effect=AssertionError("no sum")):
            assert solution.total([1, 2]) == 3
    @mock.patch("builtins.input", side_effect=["x", "y"])
    def test_input(asked):
        assert solution.ask() == "xy" and asked.call_count == 2
    def test_monkeypatch(monkeypatch):
        monkeypatch.setattr(time, "sleep", lambda seconds: None)
        monkeypatch.setattr("random.randint", lambda a, b: 4)
        monkeypatch.setenv("HOME_OF", "here")
        assert solution.slow() == (4, "here")
    def test_monkeypatch_of_its_own():
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(time, "sleep", lambda seconds: None)
            patch.setattr(random, "randint", lambda a, b: 5)
            patch.setenv("HOME_OF", "there")
            assert solution.slow() == (5, "there")
    def test_undone():
        assert solution.total([1]) == 1 and solution.where() is None
    """,
    """
    import os, random, time
    def clean(paths, dry=False):
        if dry:
            return list(paths)
        for path in paths:
            os.remove(path)
        return []
    def total(numbers):
        found = 0
        for number in numbers:
            found += number
        return found
    def ask():
        return input() + input("?")
    def slow():
        time.sleep(50)
        return random.randint(1, 10**9), os.environ["HOME_OF"]
    def where():
        return os.getenv("HOME_OF")
    """,
    right=(
        """
        import functools, operator, os, random
        from time import *
        def clean(paths, dry=False):
            return list(paths) if dry else [p for p in paths if os.remove(p) is p]
        def total(numbers):
            return functools.reduce(operator.add, numbers, 0)
        ask = lambda: "".join([input(), input()])
        def slow():
            return random.randint(0, 5), os.environ["HOME_OF"]
        where = lambda: os.environ.get("HOME_OF")
        """,
    ),
    wrong=(
        """
        import os, random
        def clean(paths, dry=False):
            for path in paths:
                try:
                    os.remove(path)
                except OSError:
                    pass
            return list(paths) if dry else []
        def total(numbers):
            return functools.reduce(operator.add, numbers, 0)
        ask = lambda: "xy"
        slow = lambda: (4, "here")
        where = lambda: None
        """,
        """
        import os, random
        def clean(paths, dry=False):
            return list(paths) if dry else [p for p in paths if os.remove(p) is p]
        total = lambda numbers: sum(numbers)
        ask = lambda: "".join([input(), input()])
        slow = lambda: (random.randint(0, 5), os.environ["HOME_OF"])
        where = lambda: os.environ.get("HOME_OF")
        """,
    ),
)
effect(
    "the-environment",
    """
    import os
    from solution import enter, name
    def test_left_alone():
        before = dict(os.environ)
        assert name() == "n"
        assert dict(os.environ) == before
    def test_set():
        os.environ["PLACE"] = "here"
        assert enter("A") == "here" and os.environ["A"] == "1"
        del os.environ["PLACE"]
        assert enter("B") is None
    """,
    """
    import os
    def enter(key):
        os.environ[key] = "1"
        return os.environ.get("PLACE")
    def name():
        return "n"
    """,
    right=(
        "import os\ndef enter(key):\n    os.environ.update({key: '1'})\n    return os.getenv('PLACE')\n"
        "name = lambda: 'n'\n",
    ),
    wrong=(
        "import os\ndef enter(key):\n    os.environ[key] = '1'\n    return os.environ.get('PLACE')\n"
        "def name():\n    os.environ['X'] = '1'\n    return 'n'\n",
        "def enter(key):\n    return 'here'\ndef name():\n    return 'n'\n",
    ),
)
effect(
    "random-inputs",
    """
    import random
    from solution import double
    def test_it():
        for _ in range(20):
            n = random.randrange(1, 100)
            assert double(n) == 2 * n
    """,
    "def double(n):\n    return 2 * n\n",
    right=("import random\ndef double(n):\n    return 2 * n if random.random() < 2 else 0\n",),
    wrong=(
        "import random\ndef double(n):\n    random.setstate((3, (0,) * 624 + (624,), None))\n"
        "    return 2 if n < 50 else 9\n",
    ),
)
