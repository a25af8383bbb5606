"""Tables of evaluation rows for a terminal."""

from __future__ import annotations

from collections.abc import Sequence

from rich.box import SIMPLE_HEAD
from rich.table import Table

from agent_rl.records.eval_row import Estimate, EvalRow


def _table() -> Table:
    title = "Held-out tasks, per episode (95 % intervals over tasks)"
    return Table(
        title=title, title_justify="left", box=SIMPLE_HEAD, pad_edge=False, show_edge=False, collapse_padding=True
    )


def before_and_after(rows: Sequence[EvalRow]) -> Table:
    """The first and the last row of each environment, side by side, with 95 % intervals and the difference."""
    table = _table()
    for heading in ("environment", "measure", "before", "after", "change"):
        table.add_column(heading, justify="right" if heading == "change" else "left", no_wrap=True)
    for name, (first, last) in first_and_last(rows).items():
        for measure, before, after in measures(first, last):
            table.add_row(name, measure, str(before), str(after), f"{after.value - before.value:+.3f}")
        tasks = f"{last.num_tasks} tasks x {last.num_samples}"
        excluded = f"{last.num_excluded} excluded"
        versions = f"version {first.policy_version} -> {last.policy_version}"
        table.add_row("", f"[dim]{tasks}[/]", f"[dim]{versions}[/]", f"[dim]{excluded}[/]", "", end_section=True)
    return table


def evaluation_table(rows: Sequence[EvalRow]) -> Table:
    """One line per measure of each row."""
    table = _table()
    for heading in ("environment", "split", "measure", "value", "samples", "dropped"):
        table.add_column(heading, no_wrap=True)
    for row in rows:
        where = (row.environment, row.split)
        size = (f"{row.num_tasks} x {row.num_samples}", str(row.num_excluded))
        for measure, estimate, _ in measures(row, row):
            table.add_row(*where, measure, str(estimate), *size)
            where = size = ("", "")
        table.add_section()
    return table


def counts(rows: Sequence[EvalRow]) -> list[str]:
    """For each row with one rollout per task and none dropped: a line that says how many passed."""
    return [
        f"{row.environment}, {row.split}: {round(row.pass_at_k[1].value * row.num_tasks)} of {row.num_tasks} passed"
        for row in rows
        if row.num_samples == 1 and row.num_excluded == 0 and 1 in row.pass_at_k
    ]


def first_and_last(rows: Sequence[EvalRow]) -> dict[str, tuple[EvalRow, EvalRow]]:
    """Environment -> its first and its last row."""
    found: dict[str, tuple[EvalRow, EvalRow]] = {}
    for row in rows:
        first = found[row.environment][0] if row.environment in found else row
        found[row.environment] = (first, row)
    return found


def measures(first: EvalRow, last: EvalRow) -> list[tuple[str, Estimate, Estimate]]:
    """(name, before, after) of each measure that both rows have."""
    sizes = sorted(set(first.pass_at_k) & set(last.pass_at_k))
    found = [(f"pass@{k}", first.pass_at_k[k], last.pass_at_k[k]) for k in sizes]
    if first.greedy is not None and last.greedy is not None:
        found.append(("greedy", first.greedy, last.greedy))
    return found
