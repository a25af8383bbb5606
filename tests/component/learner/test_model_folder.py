"""Why a folder could not be written, where a library hides it."""

from __future__ import annotations

import errno
import resource
from collections.abc import Iterator
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
