"""Structure of CHAT files: what becomes an utterance, in which order, and what becomes a problem."""

import re
import tarfile
from pathlib import Path

import pytest
from pydantic import ValidationError

from groundscope.corpus.chat import ChatOptions, ChatParser, read_chat
from groundscope.corpus.sources import decode, open_sources
from groundscope.corpus.utterance import Channel, Document, Utterance
from groundscope.errors import CorpusError
from groundscope.progress import Progress

ENV, LAN = Channel.ENV, Channel.LAN


def parse(body: str, **options) -> Document:
    """Read a transcript with ``body`` between its headers; the body's first line is line 4."""
    text = f"@UTF8\n@Begin\n@Languages:\teng\n{body}@End\n"
    return ChatParser(ChatOptions(**options)).parse(text, "t.cha", "Test")


def brief(document: Document) -> list[tuple[str, str, str, str, int]]:
    return [(u.speaker, u.channel.value, " ".join(u.words), u.tier, u.line) for u in document.utterances]


def test_scene_stands_before_its_utterance_and_after_events_behind_it():
    document = parse(
        "*MOT:\tlook here .\n"
        "%mor:\tv|look adv|here .\n"
        "%act:\tpoints at cup <aft> drinks\n"
        "%sit:\tin the kitchen\n"
        "%act:\t<aft> smiles <bef> sits down\n"
        "*CHI:\tcup !\n"
        "%gpx:\treaches\n"
    )
    assert brief(document) == [
        ("MOT", "ENV", "points at cup", "act", 6),
        ("MOT", "ENV", "in the kitchen", "sit", 7),
        ("MOT", "ENV", "sits down", "act", 8),
        ("MOT", "LAN", "look here", "main", 4),
        ("MOT", "ENV", "drinks", "act", 6),
        ("MOT", "ENV", "smiles", "act", 8),
        ("CHI", "ENV", "reaches", "gpx", 10),
        ("CHI", "LAN", "cup", "main", 9),
    ]
    assert (document.problems, document.main_tiers, document.collection) == ((), 2, "Test")


def test_repeated_tiers_are_all_kept():
    document = parse("*CHI:\tyes .\n%act:\tone\n%act:\ttwo\n%act:\tthree\n")
    assert [u.words for u in document.utterances] == [("one",), ("two",), ("three",), ("yes",)]


def test_tiers_by_option():
    body = "*CHI:\tyes .\n%act:\tjumps\n%exp:\twants to go\n%ACT:\truns\n%xact:\tno\n"
    assert [u.tier for u in parse(body, scene_tiers=("%exp",)).utterances] == ["exp", "main"]
    assert [u.words for u in parse(body).utterances] == [("jumps",), ("runs",), ("yes",)]
    assert [u.tier for u in parse(body, scene_tiers=()).utterances] == ["main"]
    with pytest.raises(ValidationError, match="is no name of a tier"):
        ChatOptions(scene_tiers=("act sit",))
    with pytest.raises(ValidationError, match="Extra inputs"):
        ChatOptions(tiers=("act",))  # pyright: ignore[reportCallIssue]


def test_continuations_belong_to_their_tier_and_lines_are_counted():
    document = parse(
        "@Comment:\ta comment that\n\tgoes on\n"
        "*CHI:\tI want\n\tthe <big\n\tone> [/] dog .\n"
        "%act:\tpoints\n  at it\n"
        "*MOT:\tno .\n"
    )
    assert brief(document) == [
        ("CHI", "ENV", "points at it", "act", 9),
        ("CHI", "LAN", "i want the dog", "main", 6),
        ("MOT", "LAN", "no", "main", 11),
    ]


def test_utterances_without_words_count_and_keep_their_scene():
    document = parse("*CHI:\t0 .\n%act:\twaves\n*CHI:\t&=laughs .\n*CHI:\t\n*CHI:\txxx .\n")
    assert document.main_tiers == 4
    assert [u.words for u in document.utterances] == [("waves",), ("<unk>",)]


def test_speakers_are_taken_as_they_are_written():
    document = parse("*ENV:\tmusic plays .\n*Julia:\thi .\n*E:hi .\n*IN2: hi .\n%act:\tnods\n")
    assert [(u.speaker, u.channel) for u in document.utterances] == [
        ("ENV", LAN), ("Julia", LAN), ("E", LAN), ("IN2", ENV), ("IN2", LAN),
    ]  # fmt: skip


def test_headers_between_tiers_are_no_utterances():
    document = parse("*CHI:\tyes .\n@Bg:\tplay\n%act:\tjumps\n@Eg:\tplay\n@G\n*CHI:\tno .\n")
    assert [u.words for u in document.utterances] == [("jumps",), ("yes",), ("no",)]
    assert document.problems == ()


@pytest.mark.parametrize(
    ("body", "what", "why", "words"),
    [
        ("*CHI\tyes .\n", "main tier", "no ':' after", []),
        ("*:\tyes .\n", "main tier", "'' is no speaker", []),
        ("*CHI says:\tyes .\n", "main tier", "'CHI says' is no speaker", []),
        ("%act:\tjumps\n", "dependent tier", "no utterance", []),
        ("%act jumps\n", "dependent tier", "no ':'", []),
        ("MOT@Begin\n", "line", "begins with 'M'", []),
        ("*CHI:\t<yes .\n", "main tier", "'<' without its partner; its words were read", [("yes",)]),
    ],
)
def test_what_cannot_be_read_is_told_and_costs_nothing_else(body, what, why, words):
    document = parse(f"{body}*MOT:\tokay .\n")
    (problem,) = document.problems
    assert (problem.file, problem.line, problem.what) == ("t.cha", 4, what)
    assert why in problem.why
    assert [u.words for u in document.utterances] == [*words, ("okay",)]
    assert document.main_tiers == 1 + len(words)


def test_the_scene_of_an_unreadable_utterance_is_not_given_to_another():
    document = parse("*MOT:\thi .\n*C I:\tyes .\n%act:\tjumps\n*MOT:\tbye .\n")
    assert [u.words for u in document.utterances] == [("hi",), ("bye",)]
    assert [(p.line, p.what) for p in document.problems] == [(5, "main tier"), (6, "dependent tier")]


def test_lines_astray_are_told_once_per_run():
    document = parse("junk\nmore junk\n\tand more\n\n*CHI:\tyes .\njunk\n")
    assert [(p.line, p.what) for p in document.problems] == [(4, "line"), (9, "line")]
    assert [u.words for u in document.utterances] == [("yes",)]


def test_empty_and_truncated_files():
    parser = ChatParser(ChatOptions())
    for text in ("", "\n \n"):
        (problem,) = parser.parse(text, "t", "c").problems
        assert (problem.line, problem.why) == (0, "it is empty")
    document = parser.parse("@UTF8\n@Begin\n*CHI:\tyes .\n*MOT:\tno", "t", "c")
    assert [u.words for u in document.utterances] == [("yes",), ("no",)]
    assert [(p.line, p.why) for p in document.problems] == [(4, "it breaks off: no @End")]


@pytest.mark.parametrize(
    "raw",
    [
        b"@UTF8\n@Begin\n*CHI:\tcaf\xc3\xa9 .\n%act:\tna\xc3\xafve\n\tsmile\n@End\n",
        b"\xef\xbb\xbf@UTF8\n@Begin\n*CHI:\tcaf\xc3\xa9 .\n%act:\tna\xc3\xafve\n\tsmile\n@End\n",
        b"@Font:\tWin\n@UTF8\n*CHI:\tcaf\xc3\xa9 .\n%act:\tna\xc3\xafve\n\tsmile\n@End\n",
        b"@UTF8\r\n@Begin\r\n*CHI:\tcaf\xc3\xa9 .\r\n%act:\tna\xc3\xafve\r\n\tsmile\r\n@End\r\n",
        b"@UTF8\r@Begin\r*CHI:\tcaf\xc3\xa9 .\r%act:\tna\xc3\xafve\r\tsmile\r@End",
        b"@Begin\n@ID:\te\n*CHI:\tcaf\xe9 .\n%act:\tna\xefve\n\tsmile\n@End\n",
        b"@Begin\n@ID:\te\n*CHI:\tcaf\xe9 .\n%act:\tna\xc3\xafve\n\tsmile\n@End\n",
        "@UTF8\n@Begin\n*CHI:\tcafé .\n%act:\tnaïve\n\tsmile\n@End\n".encode("utf-16"),
    ],
    ids=["utf-8", "bom", "font", "crlf", "cr", "latin-1", "mixed", "utf-16"],
)
def test_encodings_and_line_ends(raw):
    text, problems = decode(raw, "t.cha")
    document = ChatParser(ChatOptions()).parse(text, "t.cha", "c", problems)
    assert document.utterances == (
        Utterance("CHI", ENV, ("naïve", "smile"), "act", 4),
        Utterance("CHI", LAN, ("café",), "main", 3),
    )
    assert [(p.what, p.line) for p in document.problems] == ([("encoding", 3)] if b"\xe9 " in raw else [])


def test_files_are_read_in_order_and_counted(tmp_path, capsys):
    for name, word in (("b/2.cha", "two"), ("a/9.cha", "nine"), ("a/1.CHA", "one")):
        path = tmp_path / "talk" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"@UTF8\n*CHI:\t{word} .\n@End\n")
    documents = list(read_chat([tmp_path / "talk"], ChatOptions(), Progress()))
    assert [d.name for d in documents] == ["talk/a/1.CHA", "talk/a/9.cha", "talk/b/2.cha"]
    assert [d.utterances[0].words for d in documents] == [("one",), ("nine",), ("two",)]
    assert capsys.readouterr().err.startswith("reading CHAT: 3/3")


def test_a_file_that_cannot_be_opened_is_a_problem(tmp_path):
    (tmp_path / "good.cha").write_text("@UTF8\n*CHI:\tyes .\n@End\n")
    (tmp_path / "later.cha").write_text("@UTF8\n@End\n")
    documents = read_chat([tmp_path], ChatOptions())
    good = next(documents)
    (tmp_path / "later.cha").unlink()
    (gone,) = documents
    assert (gone.main_tiers, gone.utterances, gone.problems[0].what) == (0, (), "file")
    assert "cannot be read" in gone.problems[0].why
    assert good.main_tiers == 1


def test_nothing_to_read_is_an_error_before_anything_is_read(tmp_path):
    (tmp_path / "good.cha").write_text("@UTF8\n*CHI:\tyes .\n@End\n")
    with pytest.raises(CorpusError, match="There is no file or folder"):
        next(read_chat([tmp_path, tmp_path / "missing"], ChatOptions()))


SOME_CORPORA = ("Bohannon", "Demetras1", "Forrester", "McCune", "Warren")


@pytest.mark.real
def test_childes_counts(real_data: Path):
    """Utterances as an independent search for lines with an asterisk; words as published with the archive."""
    published = _published_counts(real_data / "SOURCES.md")
    parser = ChatParser(ChatOptions())
    found = dict.fromkeys(SOME_CORPORA, (0, 0, 0))
    independent = dict.fromkeys(SOME_CORPORA, 0)
    problems = []
    with open_sources([real_data / "childes.tar.xz"], ".cha") as sources:
        assert len(sources.files) == 8313
        for file in sources.files:
            if file.collection in found:
                with file.open() as stream:
                    raw = stream.read()
                independent[file.collection] += len(re.findall(rb"^\*", raw, re.MULTILINE))
                text, unclear = decode(raw, file.name)
                document = parser.parse(text, file.name, file.collection, unclear)
                words = [0, 0]
                for utterance in document.utterances:
                    words[utterance.channel is ENV] += len(utterance.words)
                tally = (document.main_tiers, *words)
                found[file.collection] = tuple(map(sum, zip(found[file.collection], tally, strict=True)))  # type: ignore[assignment]
                problems += document.problems
    assert {name: tally[0] for name, tally in found.items()} == independent
    assert independent == {name: published[name][0] for name in SOME_CORPORA}
    for part in (1, 2):
        total = sum(tally[part] for tally in found.values())
        assert total == pytest.approx(sum(published[name][part] for name in SOME_CORPORA), rel=0.02)
    assert {(p.what, p.file.split("/")[2]) for p in problems} == {("line", "Bohannon")}


def _published_counts(sources: Path) -> dict[str, tuple[int, int, int]]:
    rows = [[cell.strip() for cell in line.split("|")] for line in sources.read_text().splitlines()]
    return {row[2]: (int(row[5]), int(row[6]), int(row[13])) for row in rows if row[1:2] in (["Eng-NA"], ["Eng-UK"])}


def test_the_same_transcripts_from_a_folder_and_an_archive(tmp_path):
    folder = tmp_path / "childes" / "Eng-NA" / "Brown" / "Adam"
    folder.mkdir(parents=True)
    for number in (2, 1):
        (folder / f"{number}.cha").write_text(f"@UTF8\n*CHI:\tword{number} .\n@End\n")
    with tarfile.open(tmp_path / "c.tar.xz", "w:xz") as archive:
        archive.add(tmp_path / "childes", "childes")
    from_folder = list(read_chat([tmp_path / "childes"], ChatOptions()))
    assert from_folder == list(read_chat([tmp_path / "c.tar.xz"], ChatOptions()))
    assert [(d.name, d.collection) for d in from_folder] == [
        ("childes/Eng-NA/Brown/Adam/1.cha", "Brown"),
        ("childes/Eng-NA/Brown/Adam/2.cha", "Brown"),
    ]


@pytest.mark.parametrize(("tiers", "missing"), [(("act",), None), (("atc",), "atc"), (("act", "sti"), "sti")])
def test_scene_tiers_that_no_file_has_are_told_with_those_that_there_are(tmp_path, capsys, tiers, missing):
    path = tmp_path / "t.cha"
    path.write_text("@UTF8\n@Begin\n*CHI:\tyes .\n%act:\tjumps\n%mor:\tco|yes\n%sit jumps\n%Act:\truns\n@End\n")
    list(read_chat([path], ChatOptions(scene_tiers=tiers), Progress()))
    told = capsys.readouterr().err.splitlines()[1:]
    assert told == ([f"No %{missing} tier was found; there are %act, %mor."] if missing else [])
