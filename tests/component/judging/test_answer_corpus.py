"""Answers in the forms that models write them: no right one is refused, and no wrong neighbour is accepted.

`answer_corpus.jsonl` has a line for each gold answer: the rule that it tries, right answers and wrong ones.
"""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent_rl.judging.answer_comparison import AnswerComparison
from agent_rl.vocabulary import Limits
from agent_rl.vocabulary.final_answer import final_answer

LIMITS = Limits(wall_seconds=60.0, cpu_seconds=60.0)
ROWS = [json.loads(line) for line in (Path(__file__).parent / "answer_corpus.jsonl").read_text("utf-8").splitlines()]
RULES = list(dict.fromkeys(row["rule"] for row in ROWS))


@pytest.fixture(scope="module")
def comparison() -> Iterator[AnswerComparison]:
    comparison = AnswerComparison()
    yield comparison
    comparison.close()


@pytest.mark.parametrize("rule", RULES)
def test_right_answers_pass_in_every_form_and_wrong_neighbours_do_not(comparison: AnswerComparison, rule: str) -> None:
    wrongly: list[tuple[str, str, str]] = []
    for row in (row for row in ROWS if row["rule"] == rule):
        for wanted, answers in (("equal", row["right"]), ("different", row["wrong"])):
            for answer in answers:
                outcome = comparison.compare(row["gold"], answer, LIMITS)
                if outcome != wanted:
                    wrongly.append((row["gold"], answer, outcome))
    assert wrongly == []


def test_the_corpus_holds_what_it_promises() -> None:
    assert sum(len(row["right"]) for row in ROWS) >= 600
    assert sum(len(row["wrong"]) for row in ROWS) >= 600
    assert all(row["right"] or row["wrong"] for row in ROWS)


def test_a_gold_answer_is_no_other_one(comparison: AnswerComparison) -> None:
    golds = [
        "72",
        "-3",
        r"\emptyset",
        "(1,2)",
        r"\{1,2,3\}",
        r"\text{stop}",
        "C",
        "101_2",
        "y = 2x + 5",
        "x>3",
        r"5\text{ cm}",
    ]
    golds += ["2020-01-05", "3:4", r"\begin{pmatrix}1&2\\3&4\end{pmatrix}", "x^2+2x+1", r"1.6\times 10^{-19}", "True"]
    same = [(g, a) for g in golds for a in golds if g != a and comparison.compare(g, a, LIMITS) != "different"]
    assert same == []


@pytest.mark.parametrize("form", ["#### {}", r"\boxed{{{}}}", r"The answer is \fbox{{{}}}."])
def test_what_a_reply_says_is_what_is_compared(comparison: AnswerComparison, form: str) -> None:
    for gold, written in (
        ("72000", r"72\,000"),
        (r"\frac{1}{2}", "½"),
        ("(3,\\infty)", "x > 3"),
        ("B", "(B) 7 apples"),
    ):
        answer = final_answer(form.format(written))
        assert answer is not None
        assert comparison.compare(gold, answer, LIMITS) == "equal"


# Each would be a way around the comparison, if what it does to a text were taken for what the text says.
ATTACKS = [
    "5}{6",
    r"6} \boxed{5",
    r"\def\x{5}\x",
    "x_{72165}",
    "__import__('os').getpid()",
    "5 if True else 6",
    "\ue000" * 50,
    "(" * 99 + "6" + ")" * 99,
    "{" * 99 + "6" + "}" * 99,
    "-" * 199,
    r"\frac" * 40,
    r"\pm " * 60,
    "1," * 99 + "5",
    "5 or " * 30 + "6",
    "^" * 100,
    "5=" * 90 + "6",
    "$" * 200,
    r"\text{" * 30 + "6" + "}" * 30,
    "0/0",
    r"\infty-\infty",
    "9^{9^{9}}",
    "1 < " * 60,
    "5!" + "!" * 150,
    r"\sqrt" * 45,
    "5" + "'" * 150,
    "((((((((((((((((5,6),7),8),9),1),2),3),4),5),6),7),8),9),1),2),3)",
]


def test_an_answer_that_speaks_to_the_comparison_gains_nothing(comparison: AnswerComparison) -> None:
    limits = Limits(wall_seconds=20.0, cpu_seconds=2.0)
    for attack in ATTACKS:
        assert comparison.compare("5", attack, limits) != "equal", attack
    assert comparison.compare("5", "10/2", LIMITS) == "equal"
