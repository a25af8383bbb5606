"""Archives from untrusted places: what is honest comes out whole, everything else is refused, in bounded memory."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import random
import stat
import tarfile
import tracemalloc
import zipfile
from typing import Any

import pytest

from agent_rl.file_sets import ArchiveLimits, InvalidArchive, checked_files, safe_path
from agent_rl.judging.archives import read_archive

FILES = {"a.py": b"print(1)\n", "src/b.txt": b"", "src/deep/c.bin": bytes(range(256))}
SMALL = ArchiveLimits(archive_bytes=1 << 22, total_bytes=1 << 20, members=100)


def tar(*members: tuple[str | tarfile.TarInfo, bytes], format: int = tarfile.PAX_FORMAT) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w", format=format) as archive:
        for name, content in members:
            info = name if isinstance(name, tarfile.TarInfo) else tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return stream.getvalue()


def special(name: str, kind: bytes, target: str = "/etc/passwd") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return info


def zipped(*members: tuple[str | zipfile.ZipInfo, bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", method) as archive:
        for name, content in members:
            archive.writestr(name, content)
    return stream.getvalue()


def test_honest_archives_of_every_kind_are_read() -> None:
    plain = tar(*FILES.items())
    kinds = (plain, gzip.compress(plain), bz2.compress(plain), lzma.compress(plain), zipped(*FILES.items()))
    for data in (*kinds, tar(*FILES.items(), format=tarfile.GNU_FORMAT), zipped(*FILES.items(), method=0)):
        assert read_archive(data) == FILES
    long = {f"{'folder/' * 20}{n}": b"x" for n in range(2)}
    assert all(read_archive(tar(*long.items(), format=format)) == long for format in (0, 1, 2))
    assert read_archive(tar(("./a", b"x"), (special("folder", tarfile.DIRTYPE, ""), b""))) == {"a": b"x"}


def test_links_of_an_agents_folder_can_be_dropped() -> None:
    data = tar(("a", b"x"), (special("link", tarfile.SYMTYPE), b""), (special("pipe", tarfile.FIFOTYPE), b""))
    assert read_archive(data, links="skip") == {"a": b"x"}
    far = special("far", tarfile.SYMTYPE, "target/" * 20)
    for format in (tarfile.PAX_FORMAT, tarfile.GNU_FORMAT):
        assert read_archive(tar(("a", b"x"), (far, b""), ("b", b"y"), format=format), links="skip") == {
            "a": b"x",
            "b": b"y",
        }


def test_what_git_and_other_tars_say_of_all_members_is_no_name() -> None:
    def global_header(**said: str) -> bytes:
        stream = io.BytesIO()
        with tarfile.open(fileobj=stream, mode="w", format=tarfile.PAX_FORMAT, pax_headers=said) as archive:
            archive.addfile(tarfile.TarInfo("a"))
        return stream.getvalue()

    assert read_archive(global_header(comment="4f2a", mtime="1.5", **{"SCHILY.xattr.user.x": "y"})) == {"a": b""}
    with pytest.raises(InvalidArchive, match="names all members"):
        read_archive(global_header(path="b"))


SYMLINK = zipfile.ZipInfo("link")
SYMLINK.external_attr = (stat.S_IFLNK | 0o777) << 16


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (tar(("../x", b"")), "leaves its folder"),
        (tar(("/etc/x", b"")), "leaves its folder"),
        (tar(("a/../../x", b"")), "leaves its folder"),
        (tar(("a\\b", b"")), "backslash"),
        (tar(("a\nb", b"")), "control character"),
        (tar(("x" * 4096, b"")), "more than 1024 bytes"),
        (tar(("x" * 300, b"")), "a part of more than 255 bytes"),
        (tar(("a", b"1"), ("a", b"2")), "is there twice"),
        (tar(("README", b"1"), ("readme", b"2")), "differ in case only"),
        (tar(("\u00e9", b"1"), ("e\u0301", b"2")), "differ in case only"),
        (tar(("a", b"1"), ("a/b", b"2")), "a file and a folder"),
        (tar(("a/b", b"1"), ("a", b"2")), "a file and a folder"),
        (tar((special("link", tarfile.SYMTYPE), b"")), "a link or device"),
        (tar((special("hard", tarfile.LNKTYPE), b"")), "a link or device"),
        (tar((special("null", tarfile.CHRTYPE), b"")), "a link or device"),
        (tar(*((f"f{n}", b"") for n in range(101))), "more than 100 members"),
        (tar(("big", b"x" * ((1 << 20) + 1))), "more than 1048576 bytes"),
        (gzip.compress(b"\0" * (8 << 20), mtime=0), "more than 1048576 bytes"),
        (bz2.compress(b"\0" * (8 << 20)), "more than 1048576 bytes"),
        (lzma.compress(b"\0" * (8 << 20)), "more than 1048576 bytes"),
        (tar(("a", b"x" * 1000))[:700], "truncated within 'a'"),
        (tar(("a", b"x"))[:1024], "truncated: there is no end of the archive"),
        (tar(("a", b"x")) + b"x" * 512, "after the end of the archive"),
        (gzip.compress(tar(("a", b"x")), mtime=0)[:-1], "no end of the compressed archive"),
        (lzma.compress(tar(("a", b"x"))) * 2, "after the end of the compressed archive"),
        (b"\x1f\x8bnonsense", "no readable archive"),
        (b"nonsense" * 100, "no tar archive"),
        (b"", "truncated"),
        (b"x" * ((1 << 22) + 1), "an archive of more than"),
        (zipped(("../x", b"")), "leaves its folder"),
        (zipped(("/x", b"")), "leaves its folder"),
        (zipped(("../x/", b"")), "leaves its folder"),
        (zipped(("a", b"x" * (2 << 20))), "more than 1048576 bytes"),
        (zipped(*((f"f{n}", b"") for n in range(101))), "more than 100 members"),
        (zipped((SYMLINK, b"/etc/passwd")), "a link or device"),
        (zipped(("a", b"x"), method=zipfile.ZIP_LZMA), "another method"),
        (zipped(("a", b"x"), method=zipfile.ZIP_BZIP2), "another method"),
        (zipped(("a", b"1"), ("A", b"2")), "differ in case only"),
        (tar(("src/a", b"1"), ("Src/b", b"2")), "differ in case only"),
        (tar((special("../x", tarfile.DIRTYPE, ""), b"")), "leaves its folder"),
        (tar(("d/" * 70 + "f", b"")), "more than 64 folders deep"),
        (tar((special("file", tarfile.REGTYPE), b"")), "names a link's target"),
        (b"PK\x03\x04" + b"\0" * 100, "without an end"),
    ],
)
def test_what_leads_astray_is_refused(data: bytes, why: str) -> None:
    with pytest.raises(InvalidArchive, match=why):
        read_archive(data, SMALL)


def test_a_sparse_terabyte_is_refused() -> None:
    info = tarfile.TarInfo("sparse")
    info.pax_headers = {
        "GNU.sparse.major": "0",
        "GNU.sparse.minor": "1",
        "GNU.sparse.name": "sparse",
        "GNU.sparse.size": str(1 << 40),
        "GNU.sparse.map": f"0,1,{1 << 40},0",
    }
    with pytest.raises(InvalidArchive, match=r"an extended header with 'GNU\.sparse\.major'"):
        read_archive(tar((info, b"x")), SMALL)


def test_a_member_that_lies_about_its_size_is_refused() -> None:
    data = bytearray(zipped(("a", b"x" * 100_000)))
    for at in (22, data.rfind(b"PK\x01\x02") + 24):  # the uncompressed size in both headers
        data[at : at + 4] = (10).to_bytes(4, "little")
    with pytest.raises(InvalidArchive):
        read_archive(bytes(data), SMALL)


def test_a_table_of_contents_of_many_megabytes_is_not_read() -> None:
    many = zipped(*((f"{'x' * 200}{n}", b"") for n in range(9000)), method=0)  # 9000 entries of 250 bytes: over 2 MiB
    with pytest.raises(InvalidArchive, match="too large a table of contents"):
        read_archive(many)


def test_bombs_take_little_memory() -> None:
    bombs = [gzip.compress(b"\0" * (200 << 20)), zipped(("a", b"\0" * (200 << 20)))]
    tracemalloc.start()
    try:
        for bomb in bombs:
            with pytest.raises(InvalidArchive):
                read_archive(bomb, SMALL)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    # The limits allow 1 MiB of files and 0.3 MiB of headers; a reader's buffers may hold them a few times over.
    assert peak < 16 << 20


def test_damaged_archives_raise_nothing_else() -> None:
    """A thousand archives with a few bytes changed, cut or repeated (seed 4): read, or refused."""
    draw = random.Random(4)
    honest = [tar(*FILES.items()), gzip.compress(tar(*FILES.items())), zipped(*FILES.items())]
    refused = 0
    for _ in range(1000):
        data = bytearray(draw.choice(honest))
        for _ in range(draw.randint(1, 8)):
            data[draw.randrange(len(data))] = draw.randrange(256)
        cut = draw.randrange(len(data))
        try:
            read_archive(bytes(data[:cut] if draw.random() < 0.2 else data), SMALL)
        except InvalidArchive:
            refused += 1
    assert 0 < refused < 1000


def test_names_are_told_apart_wherever_paths_part() -> None:
    taken = {"a/b/c/d": b"", "a/b/x/y": b"", "a/b/c/e": b"", "z": b"", "a/b/x/z/w": b""}
    assert checked_files(taken) == taken
    for name, why in [
        ("A/n", "'A' and 'a' differ in case only"),
        ("a/B/n", "'a/B' and 'a/b' differ in case only"),
        ("a/b/C/n", "'a/b/C' and 'a/b/c' differ in case only"),
        ("a/b/c/D", "'a/b/c/D' and 'a/b/c/d' differ in case only"),
        ("a/b/x/Z", "'a/b/x/Z' and 'a/b/x/z' differ in case only"),
        ("a/b/c", "'a/b/c' is a file and a folder"),
        ("a/b/x/z", "'a/b/x/z' is a file and a folder"),
        ("a", "'a' is a file and a folder"),
        ("z/n", "'z' is a file and a folder"),
    ]:
        with pytest.raises(InvalidArchive, match=f"^{why}"):
            checked_files({**taken, name: b""})
        with pytest.raises(InvalidArchive):
            checked_files({name: b"", **taken})


@pytest.mark.parametrize("name", ["", ".", "..", "/", "a\0b", "\ud800", "a/" * 600])
def test_names_that_are_no_path_below_a_folder(name: Any) -> None:
    with pytest.raises(InvalidArchive):
        safe_path(name)


def test_sets_of_files_obey_the_same_rules() -> None:
    assert checked_files({"./a//b": b"1"}) == {"a/b": b"1"}
    for files in ({"../x": b""}, {"a": b"", "A": b""}, {"a": b"x" * ((1 << 20) + 1)}):
        with pytest.raises(InvalidArchive):
            checked_files(files, SMALL)
