"""Linked lists and trees as the judges of such tasks write them: lists, made into nodes for a call, and back after it.

    ListNode    [1, 2, 3]            the values in order; [] is no node
    TreeNode    [1, null, 2, 3]      level by level; the children of a missing node are left out; [] is no node

This file's source runs before a program, in the program's process. It holds no secrets and decides nothing.

Standard library only, Python 3.9: this runs inside the sandboxes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


def calling(
    space: dict[str, Any], owner: str, name: str, parameters: list[tuple[str, str]], result: str
) -> Callable[..., Any]:
    """A function that calls the method `name` of a new `owner()`, or the function `name`, as `space` defines it then.

    Each argument whose parameter is ListNode or TreeNode, or a list of these ("[ListNode]"), is made from its list.
    `result` says the same of the returned value; "first" is for a method that returns nothing and changes its first
    argument, which is then the result.
    """
    shapes = dict(parameters)
    first = parameters[0][1] if parameters else ""

    def call(*args: Any, **kwargs: Any) -> Any:
        kind = space.get(owner)
        if isinstance(kind, type) and hasattr(kind, name):
            function = getattr(kind(), name)
        elif name in space:
            function = space[name]
        else:
            raise NameError(f"the program defines no {name!r}")
        order = [shape for _, shape in parameters] + [""] * len(args)
        given = [_built(space, order[at], value) for at, value in enumerate(args)]
        named = {key: _built(space, shapes.get(key, ""), value) for key, value in kwargs.items()}
        returned = function(*given, **named)
        if result == "first":
            return _plain(given[0], first) if given else returned
        return _plain(returned, result)

    return call


def _built(space: dict[str, Any], shape: str, value: Any) -> Any:
    if shape.startswith("["):
        return [_built(space, shape[1:-1], item) for item in value] if isinstance(value, list) else value
    if not isinstance(value, list):
        return value
    if shape == "ListNode":
        return _list(space["ListNode"], value)
    return _tree(space["TreeNode"], value) if shape == "TreeNode" else value


def _list(node: Any, values: list[Any]) -> Any:
    head = last = None
    for value in values:
        made = node(value)
        made.next = None
        if last is None:
            head = made
        else:
            last.next = made
        last = made
    return head


def _tree(node: Any, values: list[Any]) -> Any:
    made = [None if value is None else node(value) for value in values]
    if not made or made[0] is None:
        return None
    for each in made:
        if each is not None:
            each.left = each.right = None
    children = iter(made[1:])
    for each in made:
        if each is not None:
            each.left, each.right = next(children, None), next(children, None)
    return made[0]


def _plain(value: Any, shape: str) -> Any:
    """`value` with nodes made lists; where the shape is a node's, None is the empty list."""
    if shape.startswith("["):
        return [_plain(item, shape[1:-1]) for item in value] if isinstance(value, (list, tuple)) else value
    if value is None:
        return [] if shape else None
    if hasattr(value, "val") and hasattr(value, "next"):
        return _values(value)
    if hasattr(value, "val") and hasattr(value, "left") and hasattr(value, "right"):
        return _levels(value)
    return value


def _values(head: Any) -> list[Any]:
    found: list[Any] = []
    seen: set[int] = set()
    while head is not None:
        if id(head) in seen:
            raise ValueError("the linked list has a cycle")
        seen.add(id(head))
        found.append(head.val)
        head = head.next
    return found


def _levels(root: Any) -> list[Any]:
    found: list[Any] = []
    seen: set[int] = set()
    level = [root]
    while level:
        below: list[Any] = []
        for node in level:
            found.append(None if node is None else node.val)
            if node is not None:
                if id(node) in seen:
                    raise ValueError("a node of the tree is reached twice")
                seen.add(id(node))
                below += [node.left, node.right]
        level = below
    while found and found[-1] is None:
        found.pop()
    return found
