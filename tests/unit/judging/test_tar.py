"""Archives as hosts and clients send them: what is accepted comes out as it went in, all else is refused whole."""

from __future__ import annotations

import gzip
import io
import random
import tarfile
import tracemalloc

import pytest

from agent_rl.file_sets import ArchiveLimits, InvalidArchive
from agent_rl.judging.archives import unpack
from agent_rl.judging.tar_archives import pack, packed_bytes
from tests.component.sandboxes.fuzzing import member

END = bytes(1024)
RNG = random.Random(0)  # `member` draws nothing


def of(*names: str, kind: bytes = b"0") -> bytes:
    """An archive of empty members."""
    return b"".join(member(RNG, name.encode(), kind) for name in names) + END


def extended(*records: bytes) -> bytes:
    """An extended header, and a file `short` that it is about."""
    return member(RNG, b"x", b"x", b"".join(records)) + member(RNG, b"short", b"0", b"text") + END


def test_files_come_out_as_they_went_in():
    files = {
        "a": b"",
        "b/c": b"x" * 511,
        "b/d": b"x" * 512,
        "é/☃": bytes(range(256)),
        "x" * 255: b"long",
        "/".join(["d" * 60] * 12): b"deep",
        " ": b"a space",
        "new\nline": b"",
    }
    assert unpack(pack(files)) == files
    assert unpack(pack({})) == {}
    assert pack(files) == pack(dict(files))
    assert len(pack(files)) <= sum(packed_bytes(*file) for file in files.items()) + 10240


def test_what_tar_itself_writes_is_read():
    for kind in (tarfile.PAX_FORMAT, tarfile.USTAR_FORMAT):
        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode="w", format=kind) as archive:
            folder = tarfile.TarInfo("./src/")
            folder.type = tarfile.DIRTYPE
            archive.addfile(folder)
            info = tarfile.TarInfo("./src/main.py")
            info.size, info.mtime, info.uname = 4, 1700000000.5 if kind == tarfile.PAX_FORMAT else 1700000000, "someone"
            archive.addfile(info, io.BytesIO(b"text"))
        assert unpack(buffer.getvalue()) == {"src/main.py": b"text"}


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("../x", "leaves its folder"),
        ("a/../../x", "leaves its folder"),
        ("a/..", "leaves its folder"),
        ("/etc/passwd", "is absolute"),
        ("//x", "is absolute"),
        (".", "not the path of a file"),
        ("", "not the path of a file"),
        ("a\0b", "NUL"),
        ("x" * 256 + "/y", "part of more than 255 bytes"),
        ("é" * 130 + "/y", "part of more than 255 bytes"),
        ("d/" * 70 + "f", "more than 64 folders deep"),
    ],
)
def test_names_that_lead_out_or_are_too_long_are_refused(name, says):
    as_pax = member(RNG, b"x", b"x", _record(name)) + member(RNG, b"short", b"0") + END
    for data in (of(name), as_pax) if len(name.encode()) <= 100 and name else (as_pax,):
        with pytest.raises(InvalidArchive, match=says if name else "no path"):
            unpack(data)


def _record(path: str) -> bytes:
    """An extended header's record that gives the path; its own length is a part of it."""
    rest = b" path=" + path.encode() + b"\n"
    length = len(rest)
    while len(str(length)) + len(rest) != length:
        length = len(str(length)) + len(rest)
    return str(length).encode() + rest


def test_a_path_that_is_too_long_is_refused():
    path = "/".join(["d" * 200] * 6)  # 1205 bytes
    with pytest.raises(InvalidArchive, match="more than 1024 bytes"):
        unpack(pack({path: b""}))


@pytest.mark.parametrize(
    "names",
    [
        ("a", "a"),
        ("a", "./a"),
        ("a", "A"),
        ("folder/x", "Folder/y"),
        ("ß", "SS"),
        ("e\u0301", "é"),
        ("a", "a/b"),
        ("a/b", "a"),
        ("a/b/c", "a/b"),
    ],
)
def test_names_that_two_files_would_share_are_refused(names):
    with pytest.raises(InvalidArchive):
        unpack(of(*names))


@pytest.mark.parametrize("kind", [b"1", b"2", b"3", b"4", b"6", b"7", b"S", b"L", b"K", b"g", b"V", b"A", b"\xff"])
def test_whatever_is_no_file_or_folder_is_refused(kind):
    with pytest.raises(InvalidArchive, match="neither a file nor a folder"):
        unpack(of("a", kind=kind))


def test_a_file_with_a_links_target_and_a_folder_with_content_are_refused():
    with pytest.raises(InvalidArchive, match="names a link's target"):
        unpack(member(RNG, b"a", b"0", link=b"/etc/passwd") + END)
    with pytest.raises(InvalidArchive, match="'a' is not a file, but has content"):
        unpack(member(RNG, b"a", b"5", b"text") + END)


@pytest.mark.parametrize(
    "fields",
    [
        {"size": b"-1\0"},
        {"size": b"\x80" + bytes(10) + b"\x01"},
        {"size": b"0x10\0"},
        {"size": b"99\0"},
        {"size": b""},
        {"checksum": b"0000000\0"},
        {"checksum": b"-1"},
        {"magic": b"ustar  \0"},
        {"magic": b""},
    ],
)
def test_headers_that_are_not_posix_are_refused(fields):
    with pytest.raises(InvalidArchive, match=r"octal|checksum|POSIX"):
        unpack(member(RNG, b"a", b"0", b"", **fields) + END)


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"", "truncated"),
        (b"\0" * 512, "truncated"),
        (member(RNG, b"a", b"0", b"text"), "truncated"),
        (member(RNG, b"a", b"0", size=b"00000002000\0") + END, "truncated: there is no end"),
        (member(RNG, b"a", b"0", size=b"77777777777\0") + END, "truncated within 'a'"),
        (END + b"\0", "truncated"),
        (END + of("late"), "after the end"),
        (END + bytes(511) + b"x", "after the end"),
        (member(RNG, b"x", b"x", b"") + member(RNG, b"x", b"x", b"") + END, "two extended headers"),
        (member(RNG, b"x", b"x", _record("lost")) + END, "after the end"),
        (gzip.compress(of("a"), mtime=0), "truncated"),
        (b"PK\x03\x04" + bytes(1000), "no tar archive"),
    ],
)
def test_what_is_cut_off_or_goes_on_or_is_packed_is_refused(data, says):
    with pytest.raises(InvalidArchive, match=says):
        unpack(data)


@pytest.mark.parametrize(
    ("record", "says"),
    [
        (b"11 path=abc\n", "malformed"),
        (b"99 path=a\n", "malformed"),
        (b"0 path=a\n", "malformed"),
        (b"path=a\n", "malformed"),
        (b"9 path=a\n9 path=b\n", "malformed|two"),
        (b"13 size=1000\n", "'size'"),
        (b"17 linkpath=/etc\n", "'linkpath'"),
        (b"22 GNU.sparse.major=1\n", "'GNU.sparse.major'"),
        (b"\xff\xfe", "malformed"),
    ],
)
def test_extended_headers_say_a_path_and_little_else(record, says):
    with pytest.raises(InvalidArchive, match=says):
        unpack(extended(record))
    assert unpack(extended(_record("long"), b"20 mtime=1700000000\n")) == {"long": b"text"}


def test_bombs_are_bounded_by_what_was_sent():
    limits = ArchiveLimits(archive_bytes=1 << 20, members=100)
    with pytest.raises(InvalidArchive, match="an archive of more than 1048576 bytes"):
        unpack(bytes((1 << 20) + 1), limits)
    with pytest.raises(InvalidArchive, match="more than 100 members"):
        unpack(of(*map(str, range(101))), limits)
    with pytest.raises(InvalidArchive, match="an extended header of 16896 bytes"):
        unpack(member(RNG, b"x", b"x", bytes(16896)) + END)
    # A header that promises eight gigabytes, and ten thousand members, cost next to nothing.
    data = of(*(f"{n}/" + "d/" * 40 + "f" for n in range(9000)))
    tracemalloc.start()
    try:
        with pytest.raises(InvalidArchive):
            unpack(member(RNG, b"a", b"0", size=b"77777777777\0") + END)
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
    finally:
        tracemalloc.stop()
    assert len(unpack(data)) == 9000


def test_deep_folders_take_memory_as_their_names_do():
    # 1000 paths of 61 folders and 1 KB each: 1 MB of names, but 30 MB if the path of each folder were kept.
    paths = [f"{n:05d}/" + "folder-by-name-/" * 60 + "f" for n in range(1000)]
    paths += [path[:-1] + "g" for path in paths]
    data = pack(dict.fromkeys(paths, b""))
    tracemalloc.start()
    try:
        assert len(unpack(data)) == 2000
        assert tracemalloc.get_traced_memory()[1] < 8 << 20
    finally:
        tracemalloc.stop()
