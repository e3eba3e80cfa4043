"""Pictures in folders and archives: the same files whichever way they lie, and a line for what is damaged."""

import tarfile
import zipfile
from pathlib import PurePosixPath

import pytest

from groundscope.corpus.picture_files import open_inside, pictures_in
from groundscope.corpus.sources import place_of
from groundscope.errors import CorpusError


def read(files):
    found = {}
    for file in files:
        with file.open() as stream:
            found[file.name.split("/")[-1]] = stream.read()
    return found


def test_a_folder_a_tar_and_a_zip_hold_the_same_pictures(photographs):
    problems = []
    folder = read(pictures_in([photographs / "images"], problems))
    assert len(folder) == 28
    for archive in ("all.tar", "all.zip"):
        whole, below = (pictures_in([photographs / archive / place], problems) for place in ("", "images"))
        assert read(whole) == read(below) == folder
        assert [file.name for file in whole] == sorted(file.name for file in whole)
        assert read(reversed(below)) == folder  # in any order, and again
    assert not problems


def test_what_lies_beside_pictures_is_read_inside_an_archive_too(photographs):
    assert place_of(photographs / "all.zip/labels") == (photographs / "all.zip", PurePosixPath("labels"))
    assert place_of(photographs / "images") == (photographs / "images", PurePosixPath())
    for place in ("", "all.tar/labels", "all.zip/labels"):
        with open_inside(photographs / place if place else photographs / "labels", ".txt") as found:
            assert len(found.files) == 28
    with open_inside(photographs / "all.zip/labels/000000000003.txt", ".txt") as found:
        assert [file.name for file in found.files] == ["labels/000000000003.txt"]
    with (
        pytest.raises(CorpusError, match=r"holds no \.txt files in boxes\. They lie in labels\."),
        open_inside(photographs / "all.tar/boxes", ".txt"),
    ):
        pass


def test_what_cannot_be_read_is_told(photographs, tmp_path):
    with tarfile.open(tmp_path / "a.tar.gz", "w:gz") as packed:
        packed.add(photographs / "images")
    with pytest.raises(CorpusError, match="is compressed as a whole"):
        pictures_in([tmp_path / "a.tar.gz"], [])
    for name in ("a.zip", "a.tar"):
        (tmp_path / name).write_bytes(b"nothing of the kind" * 100)
        with pytest.raises(CorpusError, match="Download it again"):
            pictures_in([tmp_path / name], [])
    whole = (photographs / "all.tar").read_bytes()
    (tmp_path / "half.tar").write_bytes(whole[: len(whole) // 4])
    problems = []
    files = pictures_in([tmp_path / "half.tar"], problems)
    assert 0 < len(files) < 28
    if not problems:  # then it breaks off inside the last one
        with pytest.raises(CorpusError, match="breaks off inside"):
            read(files)
    with pytest.raises(CorpusError, match="There is no file or folder"):
        pictures_in([tmp_path / "none"], [])
    with pytest.raises(CorpusError, match="holds no"):
        pictures_in([photographs / "labels"], [])


def test_a_damaged_member_of_a_zip_is_told_when_it_is_read(photographs, tmp_path):
    place = tmp_path / "bad.zip"
    with zipfile.ZipFile(place, "w") as packed:
        packed.write(photographs / "images/000000000001.jpg", "a.jpg")
    raw = bytearray(place.read_bytes())
    raw[60:80] = bytes(20)
    place.write_bytes(raw)
    (file,) = pictures_in([place], [])
    with pytest.raises(CorpusError, match=r"a\.jpg in .* is damaged"):
        file.open()
