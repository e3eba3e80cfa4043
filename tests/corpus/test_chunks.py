"""A corpus directory: exact counts, what is left out, the same bytes for the same documents, whole or absent."""

import io
import json
import multiprocessing
import os
import signal
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from pydantic import ValidationError
from rich.console import Console

from groundscope.corpus.card import CorpusCard
from groundscope.corpus.chunks import ChunkOptions, Corpus, build_corpus
from groundscope.corpus.jsonl import JsonlOptions, read_jsonl
from groundscope.corpus.utterance import UNKNOWN, Channel, Document, Problem, Utterance
from groundscope.corpus.vocabulary import Vocabulary
from groundscope.errors import CorpusError

ENV, LAN = Channel.ENV, Channel.LAN


def documents(n: int = 40) -> Iterator[Document]:
    rng = np.random.default_rng(7)
    nouns = ["horse", "cow", "ball", "cup", "wug"]
    for i in range(n):
        talk = []
        for line in range(int(rng.integers(1, 6))):
            speaker = str(rng.choice(["CHI", "MOT", "ENV"]))
            noun = nouns[min(4, int(rng.geometric(0.4)) - 1)]
            if i % 3 == 0:
                talk.append(Utterance(speaker, ENV, ("a", noun, UNKNOWN), str(rng.choice(["act", "sit"])), line))
            talk.append(Utterance(speaker, LAN, ("see", "the", noun), "main", line))
        problems = (Problem(f"d{i}", 3, "xx", "unreadable"),) if i % 10 == 0 else ()
        yield Document(f"d{i}", "Brown" if i % 2 else "Bloom", tuple(talk), problems, line + 2)


def naive_stream(source) -> list[str]:
    stream = []
    for document in source:
        stream.append("<doc>")
        for u in document.utterances:
            stream += [f"<{u.speaker}>", *(f"{word}<{u.channel}>" for word in u.words)]
    return stream


def naive_chunks(length: int, keep: str) -> list[list[str]]:
    stream = naive_stream(documents())
    chunks = [stream[i : i + length] for i in range(0, len(stream) - length + 1, length)]
    speaker = "<ENV>"
    return [c for c in chunks if keep == "all" or any(token.endswith("<ENV>") and token != speaker for token in c)]


@pytest.mark.parametrize("keep", ["all", "env"])
@pytest.mark.parametrize("length", [8, 13])
def test_chunks_and_counts_are_those_of_a_plain_loop(tmp_path, keep, length):
    corpus = build_corpus(documents(), tmp_path / "c", ChunkOptions(length=length, keep=keep), provenance={})
    expected = naive_chunks(length, keep)
    tokens = corpus.vocabulary.tokens
    assert [[tokens[i] for i in chunk] for chunk in corpus.chunks] == expected
    counts = Counter(token for chunk in expected for token in chunk)
    # <unk> has an entry even where it never stands
    assert {t: n for t, n in zip(tokens, corpus.vocabulary.counts.tolist(), strict=True) if n} == counts
    assert corpus.chunks.dtype == np.int32
    assert isinstance(corpus.chunks, np.memmap)


def test_rare_words_become_their_channels_unknown(tmp_path):
    vocabulary = build_corpus(
        documents(), tmp_path / "c", ChunkOptions(length=8, min_frequency=12), provenance={}
    ).vocabulary
    counts = Counter(token for chunk in naive_chunks(8, "all") for token in chunk)
    rare = Counter()
    for token, n in counts.items():
        if not token.startswith("<"):
            form, channel = token.removesuffix(">").split("<")
            assert vocabulary.count(form, Channel(channel)) == (n if n >= 12 else 0)
            rare[Channel(channel)] += n if n < 12 else 0
    assert rare[ENV]
    for channel in Channel:
        assert vocabulary.count(UNKNOWN, channel) == rare[channel] + counts[f"<unk><{channel}>"]


def test_card_counts_what_was_read(tmp_path):
    options = ChunkOptions(length=16, keep="env", words=("horse", "unheard"))
    card = build_corpus(documents(), tmp_path / "c", options, provenance={"reader": "test"}).card
    docs = list(documents())
    talk = [u for d in docs for u in d.utterances]
    assert card.files == 40
    assert card.utterances == sum(d.main_tiers for d in docs) == len([u for u in talk if u.channel is LAN]) + 40
    for channel in Channel:
        assert card.words(channel) == sum(w != UNKNOWN for u in talk if u.channel is channel for w in u.words)
    assert {(t.channel, t.tier): (t.utterances, t.words, t.unknown) for t in card.tiers} == {
        (c, tier): (len(us), sum(len(u.words) - u.words.count(UNKNOWN) for u in us), len(us) * (c is ENV))
        for c, tier in [(LAN, "main"), (ENV, "act"), (ENV, "sit")]
        for us in [[u for u in talk if u.channel is c and u.tier == tier]]
    }
    assert [c.collection for c in card.collections] == ["Bloom", "Brown"]
    for total in ("files", "utterances"):
        assert sum(getattr(c, total) for c in card.collections) == getattr(card, total)
    assert sum(c.env_words for c in card.collections) == card.words(ENV)
    assert sum(c.lan_words for c in card.collections) == card.words(LAN)
    assert card.problems == 4

    stream = naive_stream(documents())
    kept = naive_chunks(16, "env")
    assert card.tokens_read == len(stream) == card.tokens + card.tokens_without_env + card.tokens_at_end
    assert card.tokens_at_end == len(stream) % 16
    assert (card.chunks, card.tokens, card.share_env) == (len(kept), 16 * len(kept), 1.0)
    assert card.share_cooccurring_words == np.mean([{"horse<ENV>", "horse<LAN>"} <= set(c) for c in kept])
    shared = {"horse", "cow", "ball", "cup", "wug"}
    assert card.share_cooccurring == np.mean([any({f"{w}<ENV>", f"{w}<LAN>"} <= set(c) for w in shared) for c in kept])
    env = [t for c in kept for t in c if t.endswith("<ENV>") and t != "<ENV>"]
    assert card.unknown_share == {ENV: env.count("<unk><ENV>") / len(env), LAN: 0.0}
    assert card.provenance["reader"] == "test"
    assert card.provenance["parser"].startswith("groundscope ")
    assert card.options == options.model_dump(mode="json")


def test_share_with_env_when_all_chunks_are_kept(tmp_path):
    card = build_corpus(documents(), tmp_path / "c", ChunkOptions(length=16), provenance={}).card
    assert card.share_env == len(naive_chunks(16, "env")) / len(naive_chunks(16, "all"))
    assert card.share_cooccurring_words is None


def test_card_prints_in_full(tmp_path):
    card = build_corpus(documents(), tmp_path / "c", ChunkOptions(length=16), provenance={"reader": "chat"}).card
    text = "\n".join(card.lines())
    assert f"{card.tokens:,} of {card.tokens_read:,} read" in text
    assert card.content_hash in text
    console = Console(width=160, record=True, file=io.StringIO())
    console.print(card)
    assert card.content_hash in console.export_text()


def test_the_same_documents_give_the_same_bytes(tmp_path):
    one = build_corpus(documents(), tmp_path / "one", ChunkOptions(length=8), provenance={})
    two = build_corpus(documents(), tmp_path / "two", ChunkOptions(length=8), provenance={})
    for name in ("card.json", "vocabulary.json", "tokenizer.json", "chunks.npy", "problems.parquet"):
        assert (one.path / name).read_bytes() == (two.path / name).read_bytes()
    other = build_corpus(documents(39), tmp_path / "other", ChunkOptions(length=8), provenance={})
    assert one.card.content_hash == two.card.content_hash != other.card.content_hash


def test_content_hash_sees_every_token_and_every_word(tmp_path):
    corpus = build_corpus(documents(), tmp_path / "c", ChunkOptions(length=8), provenance={})
    corpus.verify()
    chunks = np.load(corpus.path / "chunks.npy")
    chunks[-1, -1] = (chunks[-1, -1] + 1) % len(corpus.vocabulary)
    np.save(corpus.path / "chunks.npy", chunks)
    with pytest.raises(CorpusError, match="files were changed after it was built"):
        Corpus.open(corpus.path).verify()


def test_problems_table_in_order(tmp_path):
    problems = build_corpus(documents(), tmp_path / "c", ChunkOptions(length=8), provenance={}).problems()
    assert problems.columns == ["file", "line", "what", "why"]
    assert problems["file"].to_list() == ["d0", "d10", "d20", "d30"]
    assert problems.row(0) == ("d0", 3, "xx", "unreadable")


def test_no_problems_is_an_empty_table(tmp_path):
    clean = (Document(d.name, d.collection, d.utterances, (), d.main_tiers) for d in documents())
    assert build_corpus(clean, tmp_path / "c", ChunkOptions(length=8), provenance={}).problems().is_empty()


def test_parts_fit_together_after_reopening(tmp_path):
    built = build_corpus(documents(), tmp_path / "c", ChunkOptions(length=8), provenance={})
    opened = Corpus.open(tmp_path / "c")
    assert opened.card == built.card
    assert opened.vocabulary == built.vocabulary == Vocabulary.load(tmp_path / "c" / "vocabulary.json")
    np.testing.assert_array_equal(opened.chunks, built.chunks)
    assert CorpusCard.model_validate_json((tmp_path / "c" / "card.json").read_text()) == built.card


@pytest.mark.parametrize(
    ("source", "options", "message"),
    [
        ([], {}, r"0 document\(s\) hold 0 tokens, less than one chunk of 512"),
        (list(documents(3)), {}, "less than one chunk"),
        (
            [Document("d", "c", (Utterance("CHI", LAN, ("a",) * 9, "main", 1),), (), 1)],
            {"length": 4, "keep": "env"},
            "None of the 2 chunks holds a word of the scene",
        ),
        (
            [Document("d", "c", (Utterance("CHI", LAN, ("two words",), "main", 1),), (), 1)],
            {},
            "free of white space; found 'two words'",
        ),
        ([Document("d", "c", (Utterance("CHI", LAN, ("",), "main", 1),), (), 1)], {}, "found ''"),
        (list(documents()), {"length": 8, "max_vocabulary": 5}, "Ask for more"),
    ],
)
def test_impossible_corpora_are_refused_and_leave_nothing(tmp_path, source, options, message):
    with pytest.raises(CorpusError, match=message):
        build_corpus(source, tmp_path / "c", ChunkOptions(**options), provenance={})
    assert list(tmp_path.iterdir()) == []


def test_options_are_checked():
    with pytest.raises(ValidationError, match="lenght"):
        ChunkOptions(lenght=8)
    with pytest.raises(ValidationError, match="'all' or 'env'"):
        ChunkOptions(keep="lan")


def test_the_same_corpus_is_built_again_but_nothing_else_replaced(tmp_path):
    first = build_corpus(documents(), tmp_path / "c", ChunkOptions(length=8), provenance={"reader": "chat"}).card
    assert (
        build_corpus(documents(), tmp_path / "c", ChunkOptions(length=8), provenance={"reader": "chat"}).card == first
    )
    there = rf"c holds another corpus: {first.files} documents of reader chat in {first.chunks} chunks of 8 tokens"
    unread = (pytest.fail("read in vain") for _ in range(1))
    for asked, options in ((unread, ChunkOptions(length=9)), (documents(39), ChunkOptions(length=8))):
        with pytest.raises(CorpusError, match=there):
            build_corpus(asked, tmp_path / "c", options, provenance={})
    assert Corpus.open(tmp_path / "c").card == first
    assert [p.name for p in tmp_path.iterdir()] == ["c"]
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("years of work")
    (tmp_path / "mine" / "card.json").write_text('{"step": 10, "weight_hash": "of a checkpoint"}')
    with pytest.raises(CorpusError, match="exists and is not a corpus"):
        build_corpus(documents(), tmp_path / "mine", ChunkOptions(length=8), provenance={})
    assert (tmp_path / "mine" / "thesis.txt").read_text() == "years of work"


def test_opening_what_is_no_corpus_says_so(tmp_path):
    with pytest.raises(CorpusError, match="is not a corpus"):
        Corpus.open(tmp_path)
    corpus = build_corpus(documents(), tmp_path / "c", ChunkOptions(length=8), provenance={})
    np.save(corpus.path / "chunks.npy", np.zeros((2, 8), dtype=np.int32))
    with pytest.raises(CorpusError, match=r"card says .* the files hold \(2, 8, "):
        Corpus.open(corpus.path)
    (corpus.path / "chunks.npy").write_bytes(b"")
    with pytest.raises(CorpusError, match="is damaged"):
        Corpus.open(corpus.path)
    card = json.loads((corpus.path / "card.json").read_text())
    for other in (card | {"colour": "red"}, []):
        (corpus.path / "card.json").write_text(json.dumps(other))
        with pytest.raises(CorpusError, match=r"card\.json is damaged, or another version .*\(\w+.*\)"):
            Corpus.open(corpus.path)


def die_while_reading(out: Path) -> None:
    def source():
        yield from documents()
        os.kill(os.getpid(), signal.SIGKILL)

    build_corpus(source(), out, ChunkOptions(length=8), provenance={})


def test_a_build_that_fails_or_is_killed_leaves_nothing(tmp_path):
    def failing():
        yield from documents()
        raise OSError("the disk is gone")

    with pytest.raises(OSError, match="the disk is gone"):
        build_corpus(failing(), tmp_path / "c", ChunkOptions(length=8), provenance={})
    process = multiprocessing.get_context("fork").Process(target=die_while_reading, args=(tmp_path / "c",))
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    assert list(tmp_path.iterdir()) == []


def test_where_little_is_left_the_refused_lines_are_named(tmp_path):
    file = tmp_path / "talk.jsonl"
    row = {"channel": "env", "words": ["a", "dog"], "speaker": "CHI"}
    file.write_text(f"{json.dumps(row)}\n" * 5)
    with pytest.raises(CorpusError, match=r"^Nothing could be read: .*talk\.jsonl, line 1: channel: [^.]*\.$") as e:
        build_corpus(read_jsonl([file], JsonlOptions()), tmp_path / "c", ChunkOptions(length=8), provenance={})
    assert "\n" not in str(e.value)
    file.write_text(f"{json.dumps({**row, 'channel': 'ENV'})}\n{json.dumps(row)}\n")
    with pytest.raises(CorpusError, match=r"less than one chunk.* 1 problem; the first: .*talk\.jsonl, line 2: "):
        build_corpus(read_jsonl([file], JsonlOptions()), tmp_path / "c", ChunkOptions(length=8), provenance={})
    talk = (Utterance("CHI", LAN, ("a", "dog"), "main", 2),) * 9
    problem = Problem("d.cha", 3, "dependent tier", "no utterance that it hangs on")
    with pytest.raises(CorpusError, match=r"leaves none\. 1 problem; the first: d\.cha, line 3: no utterance that"):
        build_corpus(
            [Document("d.cha", "c", talk, (problem,), 9)],
            tmp_path / "c",
            ChunkOptions(length=8, keep="env"),
            provenance={},
        )


def test_what_may_be_missing_is_told_in_a_line_each(tmp_path):
    file = tmp_path / "talk.jsonl"
    row = {"channel": "LAN", "words": ["a", "dog"], "speaker": "CHI"}
    file.write_text(f"{json.dumps(row)}\n{json.dumps({**row, 'channel': 'env'})}\n" * 9)
    out = tmp_path / "c"
    corpus = build_corpus(read_jsonl([file], JsonlOptions()), out, ChunkOptions(length=8), provenance={})
    no_scene, unread = corpus.remarks()
    assert no_scene == "No words of the scene (ENV) were read."
    assert unread.startswith("Beside 9 utterances there are 9 problems; the first: ")
    assert unread.endswith(f"line 2: channel: Input should be 'ENV' or 'LAN'; see {out / 'problems.parquet'}.")
    file.write_text("".join(f"{json.dumps({**row, 'channel': channel})}\n" for channel in ("ENV", "LAN") * 9))
    whole = build_corpus(read_jsonl([file], JsonlOptions()), tmp_path / "whole", ChunkOptions(length=8), provenance={})
    assert not whole.remarks()
