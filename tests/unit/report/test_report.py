"""The report: complete on a whole run, tolerant of a partial one, self-contained, and safe to open."""

import json
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from agent_rl.errors import ConfigError
from agent_rl.report import write_report
from agent_rl.report.charts import moving_mean, pack_rows
from agent_rl.report.page import overlap
from agent_rl.report.run_data import Span

VOID = {"meta", "path", "use", "rect", "line", "br"}


class Elements(HTMLParser):
    """Collects tags and attributes, and whether every element is closed in order."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag != "meta":
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def page_of(run_dir: Path) -> tuple[str, Elements]:
    path = write_report(run_dir)
    assert path == run_dir / "report.html"
    text = path.read_text()
    elements = Elements()
    elements.feed(text)
    assert elements.open == []
    return text, elements


def test_the_report_of_a_whole_run_has_every_part(run_dir):
    text, elements = page_of(run_dir)
    for heading in ("Held-out evaluation", "Curves", "Who worked when", "Left out", "Rollouts", "Configuration"):
        assert f"<h2>{heading}</h2>" in text
    for title in (
        "verdicts that are tampered",
        "Pass rate in training",
        "K = 0",
        "K = N",
        "Staleness",
        "Tokens per second",
        "Verdicts per second",
    ):
        assert title in text
    assert "21.0% →</span> 74.0%" in text
    assert "<b>0.740</b> <span class='ci'>[0.690, 0.790]</span>" in text
    assert "<td>sandbox</td><td>3</td>" in text  # steps 20, 40 and 60
    assert sum(tag == "svg" for tag, _ in elements.tags) == 11  # three and seven charts, and the strip
    assert len(text) < 400_000


def test_nothing_is_loaded_from_anywhere(run_dir):
    text, elements = page_of(run_dir)
    assert not {"script", "link", "img", "iframe", "object"} & {tag for tag, _ in elements.tags}
    for _, attributes in elements.tags:
        for name in ("href", "src", "xlink:href"):
            assert (attributes.get(name) or "#").startswith("#")
    assert not re.search(r"url\((?!#)|@import", text)


def test_ids_are_not_shared_between_charts(run_dir):
    _, elements = page_of(run_dir)
    clips = [a["id"] for tag, a in elements.tags if tag == "clippath"]
    assert len(clips) == len(set(clips)) > 0


def test_what_a_model_wrote_is_shown_and_never_run(run_dir):
    attack = "</pre><script>alert(1)</script><img src=x onerror=alert(2)>'\""
    file = run_dir / "rollouts" / "step_000060.jsonl"
    row = json.loads(file.read_text().splitlines()[0])
    row["turns"][0]["text"] = row["task"] = row["prompt"][0]["content"] = row["verdict"]["status"] = attack
    row["prompt"][0]["role"] = row["verdict"]["tests"][0]["name"] = row["ended"] = attack
    file.write_text(json.dumps(row) + "\n")
    text, elements = page_of(run_dir)
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in text
    assert not {"script", "img"} & {tag for tag, _ in elements.tags}


@pytest.mark.parametrize("missing", ["metrics.jsonl", "timeline.jsonl", "rollouts", "eval.json"])
def test_a_missing_file_leaves_only_its_part_out(run_dir, missing):
    (run_dir / missing).rename(run_dir.parent / "elsewhere")
    text, _ = page_of(run_dir)
    assert "<h2>" in text


def test_a_run_that_was_killed_while_writing_has_a_report(run_dir):
    with (run_dir / "metrics.jsonl").open("a") as file:
        file.write('{"step": 61, "pass_r')
    assert "Curves" in page_of(run_dir)[0]


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ('{"schema_version": 1, "seconds": 312.4, "resumed": false}', True),
        ('{"schema_version": 1, "seconds": 312.4, "resumed": true}', False),
        ("{", False),
        ("[]", False),
    ],
)
def test_how_long_the_whole_run_took_is_shown_where_it_is_known(run_dir, text, shown):
    (run_dir / "took.json").write_text(text)
    tile = "the whole run</div><div class='value'>5 min 12 s</div>"
    assert (tile in page_of(run_dir)[0]) == shown


def test_a_folder_that_is_no_run_is_the_users_mistake(tmp_path, run_dir):
    for missing in ("config.toml", "run.json"):
        (run_dir / missing).rename(tmp_path / missing)
        (run_dir / "report.html").write_text("theirs")
        with pytest.raises(ConfigError, match=r"RUN: .* is not a run's folder: no run wrote config.toml and run.json"):
            write_report(run_dir)
        assert (run_dir / "report.html").read_text() == "theirs"
        (tmp_path / missing).rename(run_dir / missing)
    with pytest.raises(ConfigError, match="RUN: there is no folder"):
        write_report(tmp_path / "nowhere")


def test_overlap_is_the_share_of_the_first_that_the_second_covers():
    # 0-4 and 6-8 are six seconds; 1-3 (twice) and 7-9 cover 2 + 1 of them.
    first = [Span("learner", "", 0, 4), Span("learner", "", 6, 8)]
    second = [Span("rollouts", "", 1, 3), Span("rollouts", "", 1, 2), Span("rollouts", "", 7, 9)]
    assert overlap(first, second) == pytest.approx(0.5)
    assert overlap([], second) == 0.0
    assert overlap(first, []) == 0.0
    assert overlap(first, [Span("rollouts", "", -1, 99)]) == 1.0


def test_spans_that_overlap_stand_in_different_rows():
    a, b, c = Span("r", "a", 0, 2), Span("r", "b", 1, 3), Span("r", "c", 2, 4)
    assert pack_rows([c, b, a], limit=8) == [(0, a), (1, b), (0, c)]
    assert pack_rows([a, b], limit=1) == [(0, a), (0, b)]


def test_a_moving_mean_shrinks_its_window_at_the_ends():
    # Windows of three: (1, 2), (1, 2, 6), (2, 6).
    assert moving_mean([1, 2, 6], 3) == [1.5, 3.0, 4.0]
