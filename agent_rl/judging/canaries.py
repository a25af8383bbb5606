"""Canaries: tests of ours before and after the hidden ones; some must pass and some must fail."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import dataclass

_CANARY = """
import unittest

def same(value):
    return value

def test_{word}_1():
    assert same(2) == 2

def test_{word}_3():
    assert same(2) == 3

def test_{word}_4():
    raise AssertionError

class C{word}(unittest.TestCase):
    def test_{word}_2(self):
        self.assertEqual(same([1]), [1])

    def test_{word}_5(self):
        self.assertEqual(same([1]), [2])
"""


@dataclass(frozen=True, slots=True)
class Canaries:
    """Our tests in two files, run before and after all others. `ids` maps each node id to whether it must pass."""

    first: str
    last: str
    ids: Mapping[str, bool]
    files: Mapping[str, bytes]

    @staticmethod
    def new() -> Canaries:
        """Canaries with random names that no submission can know in advance."""
        ids: dict[str, bool] = {}
        contents: dict[str, bytes] = {}
        paths: list[str] = []
        for _ in range(2):
            word = f"t{secrets.token_hex(8)}"
            path = f"test_{word}.py"
            paths.append(path)
            contents[path] = _CANARY.format(word=word).encode()
            for name in (f"test_{word}_1", f"C{word}::test_{word}_2"):
                ids[f"{path}::{name}"] = True
            for name in (f"test_{word}_3", f"test_{word}_4", f"C{word}::test_{word}_5"):
                ids[f"{path}::{name}"] = False
        return Canaries(paths[0], paths[1], ids, contents)
