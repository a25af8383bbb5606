"""The quick way to write a line gives the text of `json.dumps`."""

from __future__ import annotations

import json
import math
import random
from typing import Any

import pytest

from agent_rl.records.json_lines import JsonText, json_line, rounded_json, segments_json
from agent_rl.vocabulary import Segment


def dumped(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"))


def test_rounded_numbers_are_written_as_python_writes_them() -> None:
    draw = random.Random(0)
    for _ in range(2000):
        values: list[float] = []
        for _ in range(draw.randint(0, 40)):
            size = draw.choice([1e-9, 1e-6, 1e-5, 1e-4, 1e-3, 0.1, 1.0, 10.0, 1e3, 1e6, 1e8])
            tie = draw.randint(-9, 9) * 1e-5 + 5e-6
            values.append(
                draw.choice([draw.uniform(-size, size), round(size, 2), draw.randint(-9, 9) * 1e-5, tie, 0.0, -0.0])
            )
        assert rounded_json(tuple(values)) == dumped([round(v, 5) for v in values])


@pytest.mark.parametrize("odd", [math.inf, -math.inf, math.nan, 3, True, 1e12, -1e17])
def test_numbers_of_other_kinds_are_written_as_ever(odd: float) -> None:
    assert rounded_json((-0.25, odd)) == dumped([-0.25, round(odd, 5)])


def test_segments_are_written_with_all_their_tokens() -> None:
    segments = [
        Segment(None, "template", ()),
        Segment(0, "task", (7,)),
        Segment(1, "model", (5, 6), (-0.123456, -0.00001), (3, 3), (True, True)),
        Segment(1, "model", (5, 6, 8), (-1.0, -2.0, -0.5), (3, 4, 4), (False, True, True)),
        Segment(3, "tool", (1, 2, 3)),
    ]
    rows = [
        {"parent": None, "source": "template", "token_ids": []},
        {"parent": 0, "source": "task", "token_ids": [7]},
        {
            "parent": 1,
            "source": "model",
            "token_ids": [5, 6],
            "logprobs": [-0.12346, -1e-05],
            "versions": [3, 3],
            "loss_mask": [1, 1],
        },
        {
            "parent": 1,
            "source": "model",
            "token_ids": [5, 6, 8],
            "logprobs": [-1.0, -2.0, -0.5],
            "versions": [3, 4, 4],
            "loss_mask": [0, 1, 1],
        },
        {"parent": 3, "source": "tool", "token_ids": [1, 2, 3]},
    ]
    assert segments_json(segments).text == dumped(rows)


def test_a_line_is_the_row_in_its_order() -> None:
    row = {"run": "é\n", "a": None, "segments": JsonText("[1,2]"), "b": {"c": [1.5, "x"]}}
    assert json_line(row) == dumped({**row, "segments": [1, 2]}) + "\n"
    assert json_line({}) == "{}\n"
