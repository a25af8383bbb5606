"""Why a folder could not be written, where a library hides it; and what a folder does not replace."""

from __future__ import annotations

import errno
import resource
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from agent_rl.learner.model_folder import written_atomically


@pytest.fixture
def small_files_only() -> Iterator[None]:
    """The kernel refuses what is longer than 512 KiB, as a full disk would."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2**19, hard))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def write_as_torch_does(folder: Path) -> None:
    """Torch's own words for a write that failed: no errno is in them."""
    (folder / "optimizer.pt").write_bytes(b"")
    raise RuntimeError("PytorchStreamWriter failed writing file data/1: file write failed")


@pytest.mark.usefixtures("small_files_only")
def test_what_the_disk_refuses_is_said_in_the_kernel_s_words(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="File too large") as caught, written_atomically(tmp_path / "model") as folder:
        write_as_torch_does(folder)
    assert caught.value.errno == errno.EFBIG
    assert list(tmp_path.iterdir()) == []


def test_what_safetensors_says_in_words_is_an_error_with_its_number_again(tmp_path: Path) -> None:
    said = "Error while serializing: I/O error: No space left on device (os error 28)"
    with pytest.raises(OSError, match="No space left on device") as caught, written_atomically(tmp_path / "model"):
        raise ValueError(said)
    assert caught.value.errno == errno.ENOSPC


def test_a_failure_that_is_no_disk_s_stays_what_it_was(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="file write failed"), written_atomically(tmp_path / "model") as folder:
        write_as_torch_does(folder)
    assert list(tmp_path.iterdir()) == []


def written(path: Path, meanwhile: Callable[[Path], object]) -> None:
    with written_atomically(path) as folder:
        (folder / "file").write_text("new")
        meanwhile(path)


def with_a_file(path: Path) -> None:
    path.mkdir()
    (path / "file").write_text("theirs")


@pytest.mark.parametrize(
    "meanwhile", [Path.mkdir, Path.touch, with_a_file, lambda path: path.symlink_to(path.parent.parent)]
)
def test_what_has_come_to_a_folder_s_place_meanwhile_stays(tmp_path: Path, meanwhile: Callable[[Path], object]) -> None:
    path = tmp_path / "models" / "model"
    with pytest.raises(FileExistsError, match=r"something else is there, and stays: move it elsewhere: .*models/model"):
        written(path, meanwhile)
    assert list(path.parent.iterdir()) == [path]
    assert not path.joinpath("file").exists() or path.joinpath("file").read_text() == "theirs"


def test_a_folder_that_changed_or_gave_way_to_another_meanwhile_stays(tmp_path: Path) -> None:
    path = tmp_path / "model"
    written(path, lambda path: None)
    for meanwhile in (lambda path: (path / "theirs").touch(), lambda path: (path.rename(tmp_path / "a"), path.mkdir())):
        with pytest.raises(FileExistsError, match="something else is there, and stays"):
            written(path, meanwhile)
    assert sorted(p.name for p in tmp_path.rglob("*")) == ["a", "file", "model", "theirs"]


def test_what_appears_at_the_last_moment_stays_and_so_does_the_old_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "model"
    written(path, lambda path: None)
    rename = Path.rename

    def and_something_appears(source: Path, target: Path) -> None:
        rename(source, target)
        if source == path:
            with_a_file(path)

    monkeypatch.setattr(Path, "rename", and_something_appears)
    with pytest.raises(FileExistsError, match="something else is there, and stays"):
        written(path, lambda path: None)
    assert path.joinpath("file").read_text() == "theirs"
    assert [file.read_text() for file in tmp_path.glob(".model-old-*/model/file")] == ["new"]


@pytest.mark.parametrize("put", [Path.touch, lambda path: path.symlink_to("elsewhere")])
def test_a_file_or_a_link_is_no_folder_to_replace(tmp_path: Path, put: Callable[[Path], object]) -> None:
    put(tmp_path / "model")
    with pytest.raises(FileExistsError, match="something else is there, and stays"):
        written(tmp_path / "model", lambda path: pytest.fail("nothing was to be written"))
    assert [p.name for p in tmp_path.iterdir()] == ["model"]
