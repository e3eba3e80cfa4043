"""Folders, archives and single files; names, collections, damage."""

import errno
import gzip
import lzma
import os
import tarfile
import time
import zipfile
from pathlib import Path

import pytest

from groundscope.corpus.chat import ChatOptions, read_chat
from groundscope.corpus.chunks import ChunkOptions, build_corpus
from groundscope.corpus.sources import SourceFile, decode, open_sources, refuse_twice
from groundscope.corpus.utterance import Problem
from groundscope.errors import CorpusError
from groundscope.study.cells.corpus import hash_paths

FILES = {
    "Brown/Adam/b.cha": b"B",
    "Brown/Adam/a.cha": b"A",
    "Bates/c.cha": b"C",
    "Bates/._c.cha": b"?",
    "readme.txt": b"?",
}
NAMES = ["top/Bates/c.cha", "top/Brown/Adam/a.cha", "top/Brown/Adam/b.cha"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name, content in FILES.items():
        path = tmp_path / "top" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return tmp_path / "top"


def packed(folder: Path, kind: str) -> Path:
    path = folder.parent / f"packed{kind}"
    if kind == ".zip":
        with zipfile.ZipFile(path, "w") as archive:
            for name in FILES:
                archive.write(folder / name, f"top/{name}")
    else:
        mode = {".tar": "w:", ".tgz": "w:gz", ".tar.gz": "w:gz", ".tar.xz": "w:xz", ".txz": "w:xz"}[kind]
        with tarfile.open(path, mode) as archive:  # pyright: ignore[reportCallIssue, reportArgumentType]
            archive.add(folder, "top")
    return path


def content(file: SourceFile) -> bytes:
    with file.open() as stream:
        return stream.read()


def read_all(*paths: Path) -> dict[str, bytes]:
    with open_sources(paths, ".cha") as sources:
        assert sources.problems == ()
        return {file.name: content(file) for file in sources.files}


@pytest.mark.parametrize("kind", [".zip", ".tar", ".tar.gz", ".tgz", ".tar.xz", ".txz"])
def test_an_archive_reads_as_its_folder(folder, kind):
    from_folder = read_all(folder)
    assert list(from_folder) == NAMES
    assert list(from_folder.values()) == [b"C", b"A", b"B"]
    from_archive = read_all(packed(folder, kind))
    assert list(from_archive.items()) == list(from_folder.items())


def test_paths_keep_the_order_in_which_they_are_given(folder):
    names = list(read_all(folder / "Brown", folder / "Bates" / "c.cha"))
    assert names == ["Brown/Adam/a.cha", "Brown/Adam/b.cha", "Bates/c.cha"]


def test_a_single_file_may_have_any_suffix(folder):
    assert read_all(folder / "readme.txt") == {"top/readme.txt": b"?"}


@pytest.mark.parametrize(
    ("place", "file", "collection"),
    [
        ("childes", "Eng-NA/Brown/Adam/a.cha", "Brown"),
        ("Eng-NA", "Brown/Adam/a.cha", "Brown"),
        ("Eng-UK-MOR", "Thomas/a.cha", "Thomas"),
        ("Eng-NA/Brown", "Adam/a.cha", "Brown"),
        ("Eng-NA/Brown/Adam", "a.cha", "Brown"),
        ("mine", "home/day1/a.cha", "home"),
        ("mine", "a.cha", "mine"),
        ("Eng-NA", "a.cha", "Eng-NA"),
    ],
)
def test_collections(tmp_path, place, file, collection):
    path = tmp_path / "data" / place / file
    path.parent.mkdir(parents=True)
    path.write_bytes(b"")
    archive = tmp_path / f"{Path(place).name}.zip"
    with zipfile.ZipFile(archive, "w") as stream:
        stream.write(path, file)
    with open_sources([tmp_path / "data" / place], ".cha") as sources:
        assert [f.collection for f in sources.files] == [collection]
    if "/" not in place:  # an archive knows nothing of the folders above it
        with open_sources([archive], ".cha") as sources:
            assert [f.collection for f in sources.files] == [collection]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("missing", None, "There is no file or folder"),
        ("empty", "folder", "holds no .cha files"),
        ("bad.zip", b"no zip", "cannot be read as a .zip archive"),
        ("bad.tar", b"no tar", "cannot be read as a tar archive"),
        ("bad.tar.gz", b"no gzip", "cannot be read as a tar archive"),
        ("bad.tar.xz", b"no xz", "cannot be read as a tar archive"),
        ("hollow.tar.xz", lzma.compress(b"no tar" * 1000), "cannot be read as a tar archive"),
        ("nothing.tar.gz", gzip.compress(b"", mtime=0), "cannot be read as a tar archive"),
    ],
)
def test_what_is_no_source_is_said_in_one_line(tmp_path, name, content, message):
    path = tmp_path / name
    if content == "folder":
        path.mkdir()
        (path / "notes.txt").write_text("no transcript")
    elif content is not None:
        path.write_bytes(content)
    with pytest.raises(CorpusError, match=message) as caught, open_sources([path], ".cha"):
        pass
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("kind", [".tar", ".tar.gz", ".tar.xz"])
def test_a_truncated_archive_gives_what_it_still_holds(tmp_path, kind):
    folder = tmp_path / "top"
    folder.mkdir()
    for number in range(40):
        # incompressible, so that half of the archive is half of the files
        noise = b"".join((number * 5000 + i).to_bytes(4, "big")[::-1] + bytes([i * i % 251]) for i in range(5000))
        (folder / f"{number:02}.cha").write_bytes(noise)
    whole = tmp_path / f"whole{kind}"
    mode = {".tar": "w:", ".tar.gz": "w:gz", ".tar.xz": "w:xz"}[kind]
    with tarfile.open(whole, mode) as archive:  # pyright: ignore[reportCallIssue, reportArgumentType]
        for number in range(40):
            archive.add(folder / f"{number:02}.cha", f"top/{number:02}.cha")
    cut = tmp_path / f"cut{kind}"
    cut.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    with open_sources([cut], ".cha") as sources:
        assert sources.problems
        assert {p.what for p in sources.problems} == {"archive read in part"}
        readable = 0
        for file in sources.files[:-1]:  # the cut may go through the last one
            assert content(file) == (folder / Path(file.name).name).read_bytes()
            readable += 1
    assert 10 <= readable <= 30


def test_a_stray_byte_does_not_garble_the_rest():
    raw = "@UTF8\n*CHI:\tñandú é\n".encode() + b"%act:\t\xf1 \x80\xed\xa0\x80\n" + "*MOT:\tä\n".encode()
    text, (problem,) = decode(raw, "t")
    assert text.splitlines()[1] == "*CHI:\tñandú é"
    assert text.startswith("@UTF8\n*CHI:\tñandú é\n%act:\tñ \x80í\xa0\x80\n*MOT:\tä\n")
    assert (problem.file, problem.line, problem.what) == ("t", 3, "encoding")
    assert problem.why.startswith("5 bytes")


def test_an_archive_inside_a_folder_is_named_and_not_read(folder):
    packed(folder, ".zip").rename(folder / "Brown.zip")
    with open_sources([folder], ".cha") as sources:
        assert [file.name for file in sources.files] == NAMES
        assert [(problem.file, problem.what) for problem in sources.problems] == [("top/Brown.zip", "archive not read")]


def test_a_folder_of_archives_says_what_to_name(folder, tmp_path):
    (tmp_path / "shelf").mkdir()
    packed(folder, ".zip").rename(tmp_path / "shelf/Eng-NA.zip")
    with (
        pytest.raises(CorpusError, match=r"must be named themselves: Eng-NA\.zip"),
        open_sources([tmp_path / "shelf"], ".cha"),
    ):
        pass


def test_nothing_is_read_twice(folder):
    with pytest.raises(CorpusError, match=r"Brown lies in .*top"), open_sources([folder, folder / "Brown"], ".cha"):
        pass
    with pytest.raises(CorpusError, match="is given twice"), open_sources([folder, folder / "Bates/.."], ".cha"):
        pass


def test_thousands_of_files_may_be_named(tmp_path):
    """As a shell does with ``Eng-NA/*/*.cha``."""
    began = time.process_time()
    refuse_twice([tmp_path / f"{number}.cha" for number in range(1000)])
    assert time.process_time() - began < 2


def test_links_to_folders_are_followed_once_and_loops_end(folder, tmp_path):
    (tmp_path / "elsewhere/Kuczaj").mkdir(parents=True)
    (tmp_path / "elsewhere/Kuczaj/d.cha").write_bytes(b"D")
    (folder / "Abe").symlink_to(tmp_path / "elsewhere/Kuczaj")
    (folder / "Zoe").symlink_to(tmp_path / "elsewhere/Kuczaj")
    (folder / "Again").symlink_to(folder / "Brown")  # a folder keeps its own name, though the link sorts first
    (folder / "Brown/up").symlink_to(folder)
    (folder / "Brown/self").symlink_to("self")
    with open_sources([folder], ".cha") as sources:
        assert [(file.name, file.collection) for file in sources.files] == [
            ("top/Abe/d.cha", "Abe"),
            ("top/Bates/c.cha", "Bates"),
            ("top/Brown/Adam/a.cha", "Brown"),
            ("top/Brown/Adam/b.cha", "Brown"),
        ]
        assert [(problem.file, problem.what) for problem in sources.problems] == [("top/Brown/self", "link")]


def test_a_link_that_leads_nowhere_is_a_problem_in_the_card(folder, tmp_path):
    (folder / "Lost").symlink_to(tmp_path / "unplugged/Lost")  # a folder, as it was
    (folder / "Brown/c.cha").symlink_to("gone.cha")
    with open_sources([folder], ".cha") as sources:
        assert [file.name for file in sources.files] == NAMES
        why = "it leads nowhere: No such file or directory"
        assert sources.problems == (Problem("top/Lost", 0, "link", why), Problem("top/Brown/c.cha", 0, "link", why))
    (folder / "Bates/c.cha").write_text("@UTF8\n*CHI:\tone two three four five six seven eight .\n@End\n")
    built = build_corpus(read_chat([folder], ChatOptions()), tmp_path / "corpus", ChunkOptions(length=8), provenance={})
    assert built.problems().filter(what="link")["file"].to_list() == ["top/Lost", "top/Brown/c.cha"]
    (tmp_path / "links").mkdir()
    (tmp_path / "links/Lost").symlink_to("nowhere")
    with (
        pytest.raises(CorpusError, match=r"passed over: links/Lost \(it leads"),
        open_sources([tmp_path / "links"], ".cha"),
    ):
        pass


def test_a_file_is_read_once_under_its_own_name(folder, tmp_path):
    (folder / "Aaron.cha").symlink_to(folder / "Brown/Adam/a.cha")  # sorts first, and is only a link
    (tmp_path / "more").mkdir()
    (tmp_path / "more/Brown").symlink_to(folder / "Brown")
    (tmp_path / "more/c.cha").symlink_to(folder / "Bates/c.cha")
    (tmp_path / "more/d.cha").write_bytes(b"D")
    (tmp_path / "more/e.cha").symlink_to(tmp_path / "e.cha")
    (tmp_path / "e.cha").write_bytes(b"E")
    (folder / "f.cha").symlink_to(tmp_path / "e.cha")
    names = ["more/d.cha", "more/e.cha", *NAMES]
    assert list(read_all(tmp_path / "more", folder)) == names
    assert sorted(read_all(folder, tmp_path / "more")) == sorted(["top/f.cha", "more/d.cha", *NAMES])
    with open_sources([folder, tmp_path / "e.cha"], ".cha") as sources:  # what is named is no link's
        assert [content(file) for file in sources.files] == [b"C", b"A", b"B", b"E"]


def test_an_archive_inside_a_folder_is_read_where_it_is_named_too(folder):
    packed(folder, ".zip").rename(folder / "Brown.zip")
    assert list(read_all(folder, folder / "Brown.zip")) == NAMES
    with open_sources([folder, folder / "Brown.zip"], ".cha") as sources:
        assert [content(file) for file in sources.files] == [b"C", b"A", b"B"] * 2


@pytest.fixture
def locked(monkeypatch):
    """Folders named in it cannot be listed; permissions would not do, they do not bind an administrator."""
    names, scandir = set(), os.scandir

    def refusing(place):
        if Path(place).name in names:
            raise PermissionError(errno.EACCES, "Permission denied", str(place))
        return scandir(place)

    monkeypatch.setattr(os, "scandir", refusing)
    return names


def test_a_folder_that_cannot_be_read_is_a_problem(folder, locked):
    locked.add("Adam")
    with open_sources([folder], ".cha") as sources:
        assert [file.name for file in sources.files] == ["top/Bates/c.cha"]
        assert sources.problems == (Problem("top/Brown/Adam", 0, "folder", "it cannot be read: Permission denied"),)
    locked.add("top")
    with pytest.raises(CorpusError, match=r"passed over: top \(it cannot be read"), open_sources([folder], ".cha"):
        pass


def test_the_hash_of_a_folder_sees_what_the_readers_see(folder, tmp_path, locked):
    plain = hash_paths([folder])
    (tmp_path / "elsewhere").mkdir()
    (folder / "linked").symlink_to(tmp_path / "elsewhere")
    assert hash_paths([folder]) == plain  # an empty folder adds nothing
    (tmp_path / "elsewhere/d.cha").write_bytes(b"D")
    linked = hash_paths([folder])
    assert linked != plain
    locked.add("linked")
    assert hash_paths([folder]) == plain
    locked.clear()
    (folder / "linked/loop").symlink_to(folder)
    assert hash_paths([folder]) == linked
