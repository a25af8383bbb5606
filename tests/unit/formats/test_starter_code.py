"""What starter code promises exists; functions and methods of `class Solution` answer calls; nodes are lists.

The programs are the tests' own, and run in this process.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from agent_rl.errors import ConfigError
from agent_rl.formats import program_of, read_tasks
from agent_rl.judging.task_verifier import TaskVerifier
from agent_rl.testing.in_memory_sandbox import InMemoryProvider
from agent_rl.vocabulary import CallTests, Submission, Task


def apps(name: str, inputs: Any, outputs: Any, starter: str | None = None, **keys: Any) -> dict[str, Any]:
    tests = {"fn_name": name, "inputs": inputs, "outputs": outputs}
    return {"problem_id": name, "question": "Q", "input_output": json.dumps(tests), "starter_code": starter, **keys}


def method(name: str, arguments: str, returns: str = "") -> str:
    """Starter code as such rows have it: without a body."""
    return f"class Solution:\n    def {name}(self, {arguments}){returns}:\n        "


def task_of(tmp_path: Path, row: dict[str, Any]) -> Task:
    (tmp_path / "rows.jsonl").write_text(json.dumps(row))
    return read_tasks(tmp_path / "rows.jsonl")[0]


async def passes(task: Task, program: str) -> bool:
    async with InMemoryProvider() as provider:
        verifier = TaskVerifier(provider, minimum_isolation="memory")
        return (await verifier.judge(task, Submission.code(program_of(task, f"```python\n{program}\n```")))).passed


F = {"task_id": "f", "prompt": "P", "entry_point": "f", "cases": [{"args": [n], "expected": n} for n in (1, 2)]}
ROW = apps("f", [[1], [2]], [[1], [2]], method("f", "x: List[int]", " -> Optional[int]"))


@pytest.mark.parametrize(
    ("row", "program", "passed"),
    [
        (F, "def f(x):\n    return x", True),
        (F, "class Solution:\n    def f(self, x):\n        return x", True),
        (F, "class Solution:\n    @staticmethod\n    def f(x):\n        return x", True),
        (F, "class Solution:\n    @classmethod\n    def f(cls, x):\n        return x", True),
        (F, "class Solution:\n    seen = 0\n    def f(self, x):\n        self.seen += 1\n        return x * self.seen",
         True),
        (F, "class Solution:\n    def f(self, x: List[int]) -> Optional[int]:\n        return max(deque([x]))", True),
        (F, "from __future__ import annotations\nclass Solution:\n    def f(s, x):\n        return gcd(x, x)", True),
        (F, "def f(x: List[int]):\n    return x", False),
        (F, "class Solution:\n    f = 3", False),
        (F, "class Solution:\n    def g(self, x):\n        return x", False),
        (F, "class Other:\n    def f(self, x):\n        return x", False),
        # Asked for a function, or for a method, that one counts.
        (F, "def f(x):\n    return x\nclass Solution:\n    def f(self, x):\n        return 0", True),
        (ROW, "def f(x):\n    return x - 1\nclass Solution:\n    def f(self, x):\n        return f(x) + 1", True),
        (ROW, "def f(x):\n    return x", True),
        (ROW, "class Solution:\n    def f(self, x: List[int]) -> Optional[int]:\n        return x", True),
        (ROW, "class Solution:\n    def f(self, x):\n        return max(defaultdict(int, a=x)['a'], gcd(x, x), 0)",
         True),
        (ROW, "class Solution:\n    def f(self, x):\n        return x * randint(1, 1) + random.randint(0, 0)", True),
        (ROW, "class Solution:\n    def f(self, x):\n        return x if pow(2, 3, 5) == 3 and math.inf else 0", True),
        (ROW, "def gcd(a):\n    return a\nclass Solution:\n    def f(self, x):\n        return gcd(x)", True),
        (ROW, "x = 1", False),
        # A name that is imported is no answer, and a method may use the built-in of its own name.
        (apps("add", [[1, 2]], [[3]]), "x = 1", False),
        (apps("sum", [[[1, 2]]], [[3]]), "class Solution:\n    def sum(self, xs):\n        return sum(xs)", True),
        (apps("f", ["[1, 2]\n\"a\""], ["\"a3\""]), "def f(xs, a):\n    return a + str(sum(xs))", True),
        (apps("f", ["[1,\n 2]\n3\n"], [{"a": 6}]), "def f(xs, y):\n    return {'a': sum(xs) + y}", True),
        (apps("f", [["[1]"]], ["[1]"]), "def f(text):\n    return text", True),
    ],
)  # fmt: skip
async def test_functions_and_methods_answer_calls(tmp_path: Path, row: Any, program: str, passed: bool) -> None:
    assert await passes(task_of(tmp_path, row), program) is passed


PARTS = [
    # A method without its class, with helpers; a function of another form stays a function.
    ("def f(self, x):\n    return x", True),
    ("    def f(self, x: List[int]) -> Optional[int]:\n        return x", True),
    ("def g(self, x):\n    return x\n\ndef f(self, x):\n    return self.g(x)", True),
    ("def f(self):\n    return self", True),
    ("def f(self, x):\n    return x + 1", False),
    ("def g(self, x):\n    return x", False),
    ("class Solution:\n    def g(self, x):\n        return x\ndef f(self, x):\n    return x", False),
    # A method's body, at any depth.
    ("return x", True),
    ("    return x", True),
    ("y = x\nif y:\n    return y", True),
    ("        y = x\n        return y", True),
    ("return x + 1", False),
    ("x", False),
    ("print(Solution().f(1))", False),
]
BODY = "        "


@pytest.mark.parametrize("stub", ["", "pass", "# your code here", '"""A\n        docstring.\n        """'])
async def test_parts_of_what_starter_code_asks_for_are_completed(tmp_path: Path, stub: str) -> None:
    starter = method("f", "x: List[int]", " -> Optional[int]").rstrip() + f"\n{BODY}{stub}"
    task = task_of(tmp_path, apps("f", [[1], [2]], [[1], [2]], starter))
    assert [await passes(task, program) for program, _ in PARTS] == [passed for _, passed in PARTS]


async def test_only_a_stub_at_the_end_is_completed_by_a_body(tmp_path: Path) -> None:
    others = [
        f"{method('f', 'x')}pass\n    def g(self, y):\n        pass",
        f"{method('f', 'x')}return 0",
        method("g", "x"),
    ]
    for starter in others:
        assert not await passes(task_of(tmp_path, apps("f", [[1], [2]], [[1], [2]], starter)), "return x")


NODE = "Optional[ListNode]"
REVERSED = apps("turn", [[[1, 2, 3]], [[]]], [[[3, 2, 1]], [[]]], method("turn", f"head: {NODE}", f" -> {NODE}"))
MERGED = apps("merge", [[[[1, 4], [], [2]]]], [[[1, 4, 2]]], method("merge", f"lists: List[{NODE}]", f" -> {NODE}"))
TREE = method("flip", "root: 'TreeNode | None'", " -> TreeNode")
FLIPPED = apps("flip", [[[1, 2, None, 3]], [[]]], [[[1, None, 2, None, 3]], [[]]], TREE)
IN_PLACE = apps("move", [[[1, 2, 3], 1]], [[[3, 1, 2]]], method("move", "nums: List[int], k: int", " -> None"))
TURN = """
class ListNode:
    def __init__(self, x):
        self.val, self.next = x, None

class Solution:
    def turn(self, head):
        if head is None or head.next is None:
            return head
        last = self.turn(head.next)
        head.next.next, head.next = head, None
        return last
"""


@pytest.mark.parametrize(
    ("row", "body", "passed"),
    [
        (REVERSED, "last = None\n        while head:\n            head.next, last, head = last, head, head.next\n"
         "        return last", True),
        (REVERSED, "return head", False),
        (REVERSED, "head.next = head\n        return head", False),  # a circle
        (REVERSED, TURN, True),
        (MERGED, "first = last = ListNode()\n        for node in lists:\n            while node:\n"
         "                last.next = last = ListNode(node.val)\n                node = node.next\n"
         "        return first.next", True),
        (FLIPPED, "if root:\n            root.left, root.right = self.flip(root.right), self.flip(root.left)\n"
         "        return root", True),
        (FLIPPED, "return root", False),
        (IN_PLACE, "nums[:] = nums[-k:] + nums[:-k]", True),
        (IN_PLACE, "nums = nums[-k:] + nums[:-k]", False),
    ],
)  # fmt: skip
async def test_nodes_and_changed_arguments_are_lists(tmp_path: Path, row: Any, body: str, passed: bool) -> None:
    head = "class Solution:\n    def {}(self, {}):\n        {}"
    arguments = {"turn": "head", "merge": "lists", "flip": "root", "move": "nums, k"}[row["problem_id"]]
    program = body if body.startswith("\n") else head.format(row["problem_id"], arguments, body)
    assert await passes(task_of(tmp_path, row), program) is passed


def test_starter_code_is_part_of_the_prompt(tmp_path: Path) -> None:
    task = task_of(tmp_path, ROW)
    assert "```python\nclass Solution:\n    def f(self, x: List[int]) -> Optional[int]:\n```" in task.prompt[0].content
    assert task.prompt[0].content.endswith("It defines the class `Solution` with the method `f`.")
    assert isinstance(task.tests, CallTests) and (task.tests.entry_point, task.tests.called) == ("f", "Solution.f")
    function = task_of(tmp_path, {**F, "starter_code": "def f(x):\n    # Write it here"})
    assert function.prompt[0].content.endswith("It defines `f`.") and "# Write it here" in function.prompt[0].content
    assert isinstance(function.tests, CallTests) and function.tests.called == "f"
    assert "before" in task_of(tmp_path, F).metadata and task_of(tmp_path, F).metadata["before"] == ""
    with pytest.raises(ConfigError, match=r"rows.jsonl:1: 'starter_code' should be a string, got list"):
        task_of(tmp_path, {**F, "starter_code": ["def f(x):"]})


LISTS, NESTED = [[3], [5]], [[[1, 2]], [[3]]]


@pytest.mark.parametrize(
    ("outputs", "returns", "expected"),
    [
        (LISTS, " -> List[int]", LISTS),
        (LISTS, " -> Optional[List[int]]", LISTS),
        (LISTS, " -> list[str]", LISTS),
        (LISTS, " -> Optional[ListNode]", LISTS),
        (LISTS, " -> 'List[int]'", LISTS),
        (LISTS, " -> list[int] | None", LISTS),
        (NESTED, " -> List[List[int]]", NESTED),
        # A list around each value, as most rows have it.
        (LISTS, " -> int", [3, 5]),
        (LISTS, "", [3, 5]),
        (LISTS, " -> Any", [3, 5]),
        (LISTS, " -> List[List[int]]", [3, 5]),
        (NESTED, " -> List[int]", [[1, 2], [3]]),
        ([[[]], [[]]], " -> List[List[int]]", [[], []]),
        ([[3], [5, 6]], " -> int", [[3], [5, 6]]),
    ],
)
def test_a_list_around_each_value_is_told_from_a_value_that_is_a_list(
    tmp_path: Path, outputs: list[Any], returns: str, expected: list[Any]
) -> None:
    for starter in (method("f", "x: int", returns), f"def f(x: int){returns}:\n    "):
        task = task_of(tmp_path, apps("f", [[1], [2]], outputs, starter))
        assert isinstance(task.tests, CallTests)
        assert [case.expected for case in task.tests.cases] == expected
    if not returns:
        task = task_of(tmp_path, apps("f", [[1], [2]], outputs))
        assert isinstance(task.tests, CallTests) and [case.expected for case in task.tests.cases] == expected
