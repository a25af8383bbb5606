"""Model folders in the Hugging Face format, written so that a path holds either all of a folder or none of it."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from huggingface_hub import snapshot_download

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
"""What a tokenizer may consist of; copied byte for byte, never written anew."""
_PROBE = 2**20
"""Bytes: a library may stop some buffers before the last free byte."""
_RUST_ERROR = re.compile(r"\(os error (\d+)\)")


@contextlib.contextmanager
def written_atomically(path: Path) -> Iterator[Path]:
    """An empty folder beside `path`, which takes its place once the block ends well and its bytes are on disk.

    A folder that stands at `path` is replaced. A process killed in the middle leaves a hidden sibling at most. Raises
    OSError where the disk is full, whatever the library says that found it so.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
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
            _sync(file)
        _sync(temporary)
        _put_in_place(temporary, path)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _raise_what_the_disk_refuses(folder: Path, error: Exception) -> None:
    """Raises the OSError behind `error`, if there is one: safetensors has it in words only, torch does not say it."""
    if match := _RUST_ERROR.search(str(error)):
        number = int(match[1])
        raise OSError(number, os.strerror(number), str(folder)) from error
    try:
        with (folder / "probe").open("wb") as file:
            file.write(bytes(_PROBE))
    except OSError as refused:
        raise refused from error


def _put_in_place(temporary: Path, path: Path) -> None:
    """Rename `temporary` to `path`; what stood there is moved aside, since a full folder cannot be renamed over."""
    old = None
    if path.exists():
        old = Path(tempfile.mkdtemp(prefix=f".{path.name}-old-", dir=path.parent)) / path.name
        path.rename(old)
    temporary.rename(path)
    _sync(path.parent)
    if old is not None:
        shutil.rmtree(old.parent)


def _sync(path: Path) -> None:
    """The content of a file, or the entries of a folder, are on disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def model_folder(path: str) -> Path:
    """The folder of the model `path`: itself where it is one, else the hub's model of that name, downloaded once.

    Raises ConfigError where there is neither.
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
    """The tokenizer's files of the folder `source` stand in `target`."""
    for name in TOKENIZER_FILES:
        if (source / name).is_file():
            shutil.copyfile(source / name, target / name)
