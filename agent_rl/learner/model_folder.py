"""Model folders in the Hugging Face format, written so that a path holds a complete folder or nothing."""

from __future__ import annotations

import contextlib
import errno
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from huggingface_hub import snapshot_download

from agent_rl.atomic_files import sync
from agent_rl.errors import ConfigError

TOKENIZER_FILES = (
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "chat_template.jinja",
    "vocab.json",
    "merges.txt",
    "tokenizer.model",
)
"""The files that a tokenizer may consist of; copied byte for byte, never rewritten."""
_PROBE = 2**20
"""In bytes: a library may stop some buffers before the disk is completely full."""
_RUST_ERROR = re.compile(r"\(os error (\d+)\)")


@contextlib.contextmanager
def written_atomically(path: Path) -> Iterator[Path]:
    """An empty folder beside `path`; it is renamed to `path` when the block succeeds and its bytes are on disk.

    A folder that is at `path` when the block begins is replaced. Whatever else is there, or has come there or changed
    by the block's end, stays as it is: FileExistsError. A process killed in between leaves at most a hidden sibling
    folder. Raises OSError when the disk is full, whatever error the library raised for it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    before = _state(path)
    if before is not None and (path.is_symlink() or not path.is_dir()):
        raise _in_the_way(path)
    temporary = Path(tempfile.mkdtemp(prefix=f".{path.name}-", dir=path.parent))
    try:
        try:
            yield temporary
        except Exception as error:
            if not isinstance(error, OSError):
                _raise_what_the_disk_refuses(temporary, error)
            raise
        temporary.chmod(0o755)
        for file in sorted(temporary.rglob("*")):
            sync(file)
        sync(temporary)
        _put_in_place(temporary, path, before)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _raise_what_the_disk_refuses(folder: Path, error: Exception) -> None:
    """Raises the OSError behind `error`, if any: safetensors gives it only as text, torch does not mention it."""
    if match := _RUST_ERROR.search(str(error)):
        number = int(match[1])
        raise OSError(number, os.strerror(number), str(folder)) from error
    try:
        with (folder / "probe").open("wb") as file:
            file.write(bytes(_PROBE))
    except OSError as refused:
        raise refused from error


def _state(path: Path) -> tuple[int, int, int] | None:
    """What tells whether `path` is still the same and unchanged; None if nothing is there."""
    try:
        found = path.lstat()
    except FileNotFoundError:
        return None
    return found.st_dev, found.st_ino, found.st_ctime_ns


def _in_the_way(path: Path) -> FileExistsError:
    return FileExistsError(errno.EEXIST, "something else is there, and stays: move it elsewhere", str(path))


def _put_in_place(temporary: Path, path: Path, before: tuple[int, int, int] | None) -> None:
    """Renames `temporary` to `path`, where there still is what there was `before`; otherwise raises FileExistsError.

    The old folder is moved away first, since a rename replaces no folder that holds anything. For the same reason it
    fails when something appears only now; the old folder is then kept beside it.
    """
    if _state(path) != before:
        raise _in_the_way(path)
    old = None
    if before is not None:
        old = Path(tempfile.mkdtemp(prefix=f".{path.name}-old-", dir=path.parent)) / path.name
        path.rename(old)
    try:
        temporary.rename(path)
    except OSError:
        if os.path.lexists(path):
            raise _in_the_way(path) from None
        if old is not None:
            old.rename(path)
        raise
    sync(path.parent)
    if old is not None:
        shutil.rmtree(old.parent)


def model_folder(path: str) -> Path:
    """The folder of the model `path`: `path` itself if it is a folder, else the hub's model of that name, downloaded
    once.

    Raises ConfigError when there is neither.
    """
    if Path(path).is_dir():
        return Path(path)
    if Path(path).is_absolute() or path.startswith((".", "~")) or path.count("/") > 1:
        raise ConfigError(f"there is no folder {path}", key="model.path", value=path)
    try:
        return Path(snapshot_download(path, ignore_patterns=["*.bin", "*.pt", "*.h5", "*.msgpack", "*.onnx", "*.gguf"]))
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"{path!r} is neither a folder nor a model that can be downloaded: {error}", key="model.path"
        ) from None


def copy_tokenizer(source: Path, target: Path) -> None:
    """Copies the tokenizer files of the folder `source` to `target`."""
    for name in TOKENIZER_FILES:
        if (source / name).is_file():
            shutil.copyfile(source / name, target / name)
