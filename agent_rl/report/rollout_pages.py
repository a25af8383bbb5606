"""Rollouts to read: the prompt, each turn with the environment's answer, and the verdict, all escaped."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from agent_rl.report.run_data import JsonRow

_PASSED_SHOWN, _FAILED_SHOWN = 2, 2
_TEXT_SHOWN = 6000
"""Characters shown of one text; the run's record has the rest."""
_TESTS_SHOWN = 12


def rollouts_section(steps: Sequence[tuple[int, Sequence[JsonRow]]]) -> str:
    """The section with a few rollouts of each of `steps`; empty if there are none."""
    parts: list[str] = []
    for step, rows in steps:
        chosen = choose(rows)
        if chosen:
            parts.append(f"<h3>Step {step}</h3>" + "".join(_rollout(row) for row in chosen))
    if not parts:
        return ""
    return "<section><h2>Rollouts</h2>" + "".join(parts) + "</section>"


def choose(rows: Sequence[JsonRow]) -> list[JsonRow]:
    """Passed and failed rollouts, of different tasks if possible; rollouts with the most turns come first."""
    judged = [row for row in rows if isinstance(row.get("verdict"), Mapping)]
    judged.sort(key=lambda row: -len(row.get("turns", ())))
    chosen: list[JsonRow] = []
    for passed, wanted in ((True, _PASSED_SHOWN), (False, _FAILED_SHOWN)):
        tasks: dict[str, JsonRow] = {}
        for row in judged:
            if bool(row["verdict"].get("passed")) == passed:
                tasks.setdefault(str(row.get("task")), row)
        chosen += list(tasks.values())[:wanted]
    return chosen


def _rollout(row: JsonRow) -> str:
    verdict: Mapping[str, Any] = row["verdict"]
    passed = bool(verdict.get("passed"))
    status = escape(str(verdict.get("status", "passed" if passed else "failed")))
    turns = [turn for turn in row.get("turns", ()) if isinstance(turn, Mapping)]
    facts = [f"{len(turns)} turn{'s' if len(turns) != 1 else ''}", f"ended: {row.get('ended', '?')}"]
    if isinstance(row.get("advantage"), (int, float)):
        facts.append(f"advantage {row['advantage']:+.2f}")
    head = (
        f"<summary><span class='badge {'ok' if passed else 'no'}'>{status}</span> "
        f"<span class='task'>{escape(str(row.get('task', '')))}</span> "
        f"<span class='facts'>{escape(' · '.join(facts))}</span></summary>"
    )
    body = _messages(row.get("prompt"), "prompt")
    for number, turn in enumerate(turns, start=1):
        reason = turn.get("finish_reason")
        note = "" if reason in (None, "stop") else f" ({reason})"
        body += _said("model", f"model, turn {number}{note}", turn.get("text", ""))
        body += _messages(turn.get("observation"), "environment")
    return f"<details class='rollout'>{head}{body}{_verdict(verdict)}</details>"


def _messages(messages: Any, label: str) -> str:
    """A prompt or an observation: a text, or messages with role and content."""
    if isinstance(messages, str):
        return _said("said", label, messages)
    if not isinstance(messages, Sequence):
        return ""
    found = [m for m in messages if isinstance(m, Mapping)]
    return "".join(_said("said", f"{label} ({m.get('role', '?')})", m.get("content", "")) for m in found)


def _said(kind: str, label: str, text: Any) -> str:
    text = str(text)
    cut = text if len(text) <= _TEXT_SHOWN else text[:_TEXT_SHOWN] + f"\n… {len(text) - _TEXT_SHOWN} characters more"
    return f"<div class='{kind}'><div class='who'>{escape(label)}</div><pre>{escape(cut) or ' '}</pre></div>"


def _verdict(verdict: Mapping[str, Any]) -> str:
    facts = [f"tier {verdict['tier']}"] if verdict.get("tier") else []
    if verdict.get("isolation"):
        facts.append(f"isolation {verdict['isolation']}")
    if isinstance(verdict.get("seconds"), (int, float)):
        facts.append(f"{1000 * verdict['seconds']:.0f} ms")
    tests = [test for test in verdict.get("tests", ()) if isinstance(test, Mapping)]
    lines = "".join(
        f"<tr><td class='{'ok' if t.get('passed') else 'no'}'>{'✓' if t.get('passed') else '✗'}</td>"
        f"<td>{escape(str(t.get('name', '')))}</td><td>{escape(str(t.get('detail', ''))[:300])}</td></tr>"
        for t in tests[:_TESTS_SHOWN]
    )
    if len(tests) > _TESTS_SHOWN:
        lines += f"<tr><td></td><td colspan='2'>and {len(tests) - _TESTS_SHOWN} more</td></tr>"
    table = f"<table class='tests'>{lines}</table>" if lines else ""
    head = escape(", ".join(["verdict", *facts]))
    return f"<div class='said'><div class='who'>{head}</div>{table}</div>"
