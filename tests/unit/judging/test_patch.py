"""Unified diffs, applied exactly: edits, new and deleted files, moves; and everything else refused."""

from __future__ import annotations

import difflib
import random

import pytest

from agent_rl.judging.patches import InvalidPatch, apply_patch

FILES = {"a.txt": b"one\ntwo\nthree\nfour\nfive\n", "src/b.txt": b"x\ny", "bin": b"\0\1"}


async def applied(patch: str, files: dict[str, bytes] | None = None) -> dict[str, bytes | None]:
    async def content_of(path: str) -> bytes | None:
        return (FILES if files is None else files).get(path)

    return await apply_patch(patch, content_of)


async def test_lines_are_changed_where_they_stand() -> None:
    head = "diff --git a/a.txt b/a.txt\nindex 1..2 100644\n--- a/a.txt\n+++ b/a.txt\n"
    patch = f"{head}@@ -2,2 +2,3 @@ said\n two\n-three\n+3\n+3.5\n"
    assert await applied(patch) == {"a.txt": b"one\ntwo\n3\n3.5\nfour\nfive\n"}
    moved = patch.replace("-2,2 +2,3", "-40,2 +41,3")
    assert await applied(moved) == {"a.txt": b"one\ntwo\n3\n3.5\nfour\nfive\n"}


async def test_files_come_and_go_and_move() -> None:
    assert await applied("--- /dev/null\n+++ b/new.txt\n@@ -0,0 +1,2 @@\n+a\n+b\n") == {"new.txt": b"a\nb\n"}
    gone = "--- a/src/b.txt\n+++ /dev/null\n@@ -1,2 +0,0 @@\n-x\n-y\n\\ No newline at end of file\n"
    assert await applied(gone) == {"src/b.txt": None}
    rename = "diff --git a/a.txt b/c.txt\nsimilarity index 100%\nrename from a.txt\nrename to c.txt\n"
    assert await applied(rename) == {"a.txt": None, "c.txt": FILES["a.txt"]}
    edited = rename + "--- a/a.txt\n+++ b/c.txt\n@@ -1 +1 @@\n-one\n+1\n"
    assert await applied(edited) == {"a.txt": None, "c.txt": b"1\ntwo\nthree\nfour\nfive\n"}


async def test_the_newline_at_the_end_is_kept_or_not_as_written() -> None:
    patch = "--- a/src/b.txt\n+++ b/src/b.txt\n@@ -1,2 +1,2 @@\n x\n-y\n\\ No newline at end of file\n+z\n"
    assert await applied(patch) == {"src/b.txt": b"x\nz\n"}


async def test_what_difflib_writes_is_applied() -> None:
    """Two hundred random edits of random texts (seed 4)."""
    draw = random.Random(4)
    for _ in range(200):
        old = [f"{draw.randrange(6)}\n" for _ in range(draw.randrange(1, 30))]
        new = [line for line in old if draw.random() > 0.2] + [f"{draw.randrange(6)}\n"]
        draw.shuffle(new) if draw.random() < 0.2 else None
        patch = "".join(difflib.unified_diff(old, new, "a/t", "b/t", n=draw.randrange(4)))
        expected = {"t": "".join(new).encode()}
        if patch:
            assert await applied(patch, {"t": "".join(old).encode()}) == expected


async def test_a_hunk_goes_to_the_nearest_place_and_of_two_to_the_lower_one() -> None:
    old = {"t": b"x\n" + b"a\nb\n" * 4}  # "b" stands in lines 3, 5, 7 and 9
    for named, line in ((1, 3), (3, 3), (4, 3), (5, 5), (6, 5), (8, 7), (9, 9), (99, 9)):
        lines = (b"x\n" + b"a\nb\n" * 4).splitlines(keepends=True)
        lines[line - 1] = b"B\n"
        assert await applied(f"--- a/t\n+++ b/t\n@@ -{named} +{named} @@\n-b\n+B\n", old) == {"t": b"".join(lines)}


async def test_the_time_of_a_patch_is_bounded() -> None:
    made = "--- /dev/null\n+++ b/f\n@@ -0,0 +1,{n} @@\n{lines}--- a/f\n+++ b/f\n"
    equal = made.format(n=4000, lines="+a\n" * 4000)
    numbered = made.format(n=4000, lines="".join(f"+{n}\n" for n in range(4000)))
    again = "--- a/f\n+++ b/f\n"
    for patch in (
        # 2000 lines agree at each of 2000 places, and the next one never does: 4 million steps.
        equal + "@@ -1,2001 +0,0 @@\n" + "-a\n" * 2000 + "-b\n",
        # Each of 1000 hunks names the last line, and stands 3500 lines away from it on average: 3.5 million steps.
        numbered + "".join(f"@@ -4000 +4000 @@\n-{n}\n+x\n" for n in range(1000)),
        numbered + again * 900,  # 4000 lines 900 times: 3.6 million steps
    ):
        with pytest.raises(InvalidPatch, match="take too long to be placed"):
            await applied(patch)
    lines = [f"{n}\n" for n in range(100_000)]
    hunks = "".join(f"@@ -{n + 1} +{n + 1} @@\n-{n}\n+x\n" for n in range(0, 100_000, 10))
    changed = (await applied(again + hunks, {"f": "".join(lines).encode()}))["f"]
    assert changed is not None and changed.count(b"x\n") == 10_000


@pytest.mark.parametrize(
    ("patch", "why"),
    [
        ("", "no change of any file"),
        ("hello\n", "no change of any file"),
        ("--- a/../x\n+++ b/../x\n@@ -1 +1 @@\n-a\n+b\n", "leaves its folder"),
        ("--- /etc/passwd\n+++ /etc/passwd\n@@ -1 +1 @@\n-a\n+b\n", "leaves its folder"),
        ("--- a/none\n+++ b/none\n@@ -1 +1 @@\n-a\n+b\n", "'none' is not there to be changed"),
        ("--- a/a.txt\n+++ b/a.txt\n@@ -1 +1 @@\n-ONE\n+b\n", "hunk 1 of 'a.txt' does not apply"),
        ("--- a/a.txt\n+++ b/a.txt\n@@ -1,2 +1 @@\n-one\n", "ends within a hunk"),
        ("--- a/a.txt\n+++ b/a.txt\n@@ what @@\n", "no hunk's head"),
        ("--- /dev/null\n+++ b/a.txt\n@@ -0,0 +1 @@\n+x\n", "'a.txt' is there already"),
        ("--- a/a.txt\n+++ /dev/null\n@@ -1 +0,0 @@\n-one\n", "not all of its lines"),
        ("--- a/bin\n+++ b/bin\n@@ -1 +1 @@\n-a\n+b\n", "'bin' is not text"),
        ("diff --git a/x b/x\nGIT binary patch\nliteral 0\n", "binary file"),
        ("@@ -1 +1 @@\n-a\n+b\n", "a hunk of no file"),
        ("--- /dev/null\n+++ b/new\n@@ -0,0 +1 @@\n+\ud800\n", "'new' would hold what is not valid Unicode"),
        ("x" * ((4 << 20) + 1), "more than 4194304 characters"),
    ],
)
async def test_what_does_not_apply_is_refused(patch: str, why: str) -> None:
    with pytest.raises(InvalidPatch, match=why):
        await applied(patch)
