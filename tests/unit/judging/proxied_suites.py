"""Test suites of several files, with fixtures of every kind or with a solution that is imported anew: all are honest.

Each passes RIGHT and fails WRONG, at tier `proxied` as under pytest.
"""

from __future__ import annotations

from textwrap import dedent

RIGHT = """
def add(a, b):
    return a + b
class Box:
    def __init__(self, n=1):
        self.n = n
pushed = []
def push(x):
    pushed.append(x)
    return len(pushed)
limit = 10
"""
WRONG = """
def add(a, b):
    return a + b + 1
class Box:
    def __init__(self, n=1):
        self.n = 0
pushed = []
def push(x):
    return 7
limit = 11
"""
SUITES: dict[str, dict[str, str]] = {}
ONE = "import pytest\n@pytest.fixture\ndef n():\n    return 1\n"
TWICE = "def twice(x):\n    return 2 * x\n"


def suite(name: str, files: dict[str, str]) -> None:
    SUITES[name] = {path: dedent(text).lstrip("\n") for path, text in files.items()}


# Fixtures of one name

suite(
    "a-class's-over-a-module's-over-a-conftest's",
    {
        "conftest.py": ONE,
        "test_it.py": """
            import pytest
            from solution import add
            @pytest.fixture
            def n(n):
                return n + 10
            def test_module(n):
                assert add(n, 1) == 12
            class TestOver:
                @pytest.fixture
                def n(self, n):
                    return n + 100
                def test_class(self, n):
                    assert add(n, 1) == 112
                class TestInside:
                    @pytest.fixture
                    def n(self, n):
                        return n + 1000
                    def test_inside(self, n):
                        assert add(n, 1) == 1112
            class TestOther(TestOver):
                @pytest.fixture
                def n(self):
                    return 5
                def test_derived(self, n):
                    assert add(n, 1) == 6
                test_class = TestInside = None
        """,
        "test_plain.py": "from solution import add\ndef test_plain(n):\n    assert add(n, 1) == 2\n",
    },
)
suite(
    "a-folder's-over-its-parent's",
    {
        "conftest.py": ONE,
        "a/conftest.py": "import pytest\n@pytest.fixture\ndef n(n):\n    return n + 1\n",
        "a/test_a.py": "from solution import add\ndef test_a(n):\n    assert add(n, 1) == 3\n",
        "test_top.py": "from solution import add\ndef test_top(n):\n    assert add(n, 1) == 2\n",
    },
)
suite(
    "over-one-that-is-used-by-another",
    {
        "conftest.py": ONE + "@pytest.fixture\ndef m(n):\n    return 10 * n\n",
        "test_it.py": """
            import pytest
            from solution import add
            @pytest.fixture
            def n(m):
                return m + 5
            def test_it(n, m):
                assert (n, m) == (15, 10) and add(n, m) == 25
        """,
    },
)
suite(
    "over-what-pytest-gives",
    {
        "test_it.py": """
            import pytest
            from solution import add
            @pytest.fixture
            def tmp_path(tmp_path):
                (tmp_path / "n").write_text("4")
                return tmp_path
            @pytest.fixture
            def n(tmp_path):
                return int((tmp_path / "n").read_text())
            @pytest.fixture(scope="module")
            def folder(tmp_path_factory):
                return tmp_path_factory.mktemp("data")
            def test_it(n, tmp_path, folder):
                assert (tmp_path / "n").exists() and add(n, 1) == 5 and not list(folder.iterdir())
        """
    },
)
suite(
    "by-other-names",
    {
        "helpers.py": ONE,
        "more.py": ONE.replace("1", "2").replace("def n", "def two"),
        "conftest.py": "pytest_plugins = ['more']\n",
        "test_it.py": """
            import pytest
            from helpers import n as one
            from solution import add
            @pytest.fixture(name="three")
            def made(one, two):
                return one + two
            @pytest.fixture
            def maybe(request):
                return getattr(request, "param", 6)
            def test_it(three, one, maybe, request):
                assert add(three, one) == 4 and add(maybe, 0) == 6 and request.getfixturevalue("two") == 2
        """,
    },
)

# Fixtures with parameters

suite(
    "parameters-in-classes-and-modules",
    {
        "test_it.py": """
            import pytest
            from solution import add
            @pytest.fixture(params=[1, pytest.param(2, id="two"), pytest.param(3, marks=pytest.mark.skip)])
            def n(request):
                yield request.param
            class TestIt:
                @pytest.fixture(params=[10, 20], ids=lambda m: f"m{m}")
                def m(self, request):
                    return request.param
                def test_both(self, m, n):
                    assert add(m, n) == m + n and n in (1, 2) and m in (10, 20)
            @pytest.mark.usefixtures("n")
            @pytest.mark.parametrize("x", [4, 5])
            def test_used(x):
                assert add(x, 1) == x + 1
            @pytest.mark.parametrize("n", [7])
            def test_hidden(n):
                assert add(n, 1) == 8
        """
    },
)
suite(
    "parameters-of-an-overridden-one",
    {
        "conftest.py": ONE.replace("fixture", "fixture(params=[1, 2])")
        .replace("n()", "n(request)")
        .replace("1\n", "request.param\n"),
        "test_over.py": """
            import pytest
            from solution import add
            @pytest.fixture
            def n(n):
                return n * 10
            def test_n(n):
                assert n in (10, 20) and add(n, 1) == n + 1
        """,
        "test_without.py": """
            import pytest
            from solution import add
            @pytest.fixture
            def n():
                return 7
            def test_n(n):
                assert add(n, 1) == 8
        """,
    },
)
suite(
    "parameters-that-last-for-a-module",
    {
        "test_it.py": """
            import pytest
            from solution import Box, add
            alive = []
            @pytest.fixture(params=[1, 2], scope="module")
            def n(request):
                alive.append(request.param)
                yield request.param
                alive.remove(request.param)
            @pytest.fixture(scope="module")
            def box(n):
                made = Box(n)
                alive.append(made)
                yield made
                alive.remove(made)
            def test_first(box, n):
                assert box.n == n and alive == [n, box]
                box.n += 5
            def test_second(box, n):
                assert box.n == n + 5
            class TestIn:
                set_up = 0
                @classmethod
                def setup_class(cls):
                    cls.set_up += 1
                def test_third(self, n):
                    assert add(n, 1) == n + 1 and self.set_up
            def test_plain():
                assert add(1, 1) == 2
        """
    },
)
suite(
    "parameters-of-the-solution",
    {
        "test_it.py": """
            import pytest
            import solution
            @pytest.fixture(params=[solution.add, lambda a, b: a + b], ids=["theirs", "ours"])
            def f(request):
                return request.param
            @pytest.fixture(params=[solution.Box], autouse=True)
            def kind(request):
                return request.param
            def test_it(f, kind):
                assert f(1, 2) == 3 and kind(4).n == 4
        """
    },
)

# Modules beside the tests

suite(
    "packages",
    {
        "checks/__init__.py": "from .helpers import twice as again\n",
        "checks/helpers.py": TWICE,
        "checks/conftest.py": """
            import pytest
            from .helpers import twice
            @pytest.fixture
            def two():
                return twice(1)
        """,
        "checks/test_it.py": """
            from . import again, helpers
            from .conftest import twice
            from .helpers import twice as same
            from checks.helpers import twice as named
            from solution import add
            def test_it(two):
                assert add(2, 2) == twice(2) == helpers.twice(two)
                assert again is same is named is twice
            def test_patched(monkeypatch):
                monkeypatch.setattr("checks.helpers.twice", lambda x: 4)
                monkeypatch.setattr("checks.again", 5)
                assert add(1, 3) == helpers.twice(7)
        """,
        "checks/unit/__init__.py": "",
        "checks/unit/test_inside.py": """
            from ..helpers import twice
            from ..test_it import helpers
            from solution import add
            def test_inside(two):
                assert add(2, 2) == twice(two) and helpers.twice is twice
        """,
    },
)
suite(
    "packages-with-files-of-one-name",
    {
        f"{folder}/{file}": text
        for folder, n in (("a", 1), ("b", 2))
        for file, text in (
            ("__init__.py", ""),
            ("helpers.py", f"N = {n}\n"),
            (
                "test_it.py",
                f"from .helpers import N\nfrom solution import add\ndef test_it():\n    assert add(N, 2) == {n + 2}\n",
            ),
        )
    },
)
suite(
    "folders-that-are-no-packages",
    {
        "checks/helpers.py": TWICE,
        "checks/util/__init__.py": "from .calc import twice\n",
        "checks/util/calc.py": TWICE,
        "checks/test_it.py": """
            from checks.helpers import twice
            from helpers import twice as beside
            from util import twice as packed
            from solution import add
            def test_it():
                assert add(2, 2) == twice(2) == beside(2) == packed(2)
            def test_patched(monkeypatch):
                import checks.helpers
                monkeypatch.setattr("checks.helpers.twice", lambda x: 4)
                assert add(1, 3) == checks.helpers.twice(7)
        """,
    },
)

# The solution is imported anew

suite(
    "reload",
    {
        "test_it.py": """
            import importlib
            import pytest
            import solution
            from solution import Box
            @pytest.fixture(autouse=True)
            def fresh():
                importlib.reload(solution)
            class TestOwn:
                @pytest.fixture(autouse=True)
                def _own(self, module):
                    self.module = module
                def test_own(self):
                    assert self.module.push(1) == 1
            @pytest.fixture
            def module():
                return importlib.reload(solution)
            def test_first(monkeypatch):
                assert solution.push(1) == 1
                monkeypatch.setattr(solution, "limit", 3)
                assert importlib.reload(solution).limit == 10
            def test_second(module):
                assert module is solution and solution.push(1) == 1 and solution.pushed == [1]
            def test_classes():
                old = Box(3)
                assert isinstance(old, Box) and not isinstance(old, solution.Box) and solution.Box(3).n == 3
        """
    },
)
suite(
    "import-module",
    {
        "test_it.py": """
            import importlib
            import importlib.util
            import sys
            import pytest
            solution = importlib.import_module("solution")
            @pytest.fixture(params=["pop", "delitem"])
            def module(request, monkeypatch):
                if request.param == "pop":
                    sys.modules.pop("solution", None)
                else:
                    monkeypatch.delitem(sys.modules, "solution", raising=False)
                return importlib.import_module("solution")
            def test_here():
                assert importlib.import_module("solution") is solution is __import__("solution")
                assert importlib.util.find_spec("solution") is not None and solution.add(1, 2) == 3
            def test_anew(module):
                assert module is not solution and module.push(1) == 1
            def test_again(module):
                import solution as now
                assert now is module and module.push(1) == 1 and module.pushed == [1] and module.Box is not solution.Box
        """
    },
)
