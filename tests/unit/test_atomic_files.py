"""A file is replaced as a whole, or not at all."""

from pathlib import Path

import pytest

from agent_rl.atomic_files import write_atomically


def test_a_file_is_replaced_and_can_be_read_by_all(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    for text in ("longer than the next", "µ"):
        write_atomically(path, text)
        assert path.read_bytes() == text.encode()
    assert path.stat().st_mode & 0o777 == 0o644
    assert list(tmp_path.iterdir()) == [path]


def test_where_writing_fails_the_old_text_stands_and_nothing_beside_it(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    write_atomically(path, "old")
    with pytest.raises(UnicodeEncodeError):
        write_atomically(path, "half of it \ud800")
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]
