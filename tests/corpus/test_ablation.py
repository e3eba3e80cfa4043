import itertools
import re

import numpy as np
import pytest

from groundscope.cli import main
from groundscope.corpus.ablation import Ablation, ablate, ablate_series, doses
from groundscope.corpus.arms import Arm
from groundscope.corpus.chunks import ChunkOptions, Corpus, build_corpus
from groundscope.corpus.cooccurrence import cooccurring, cooccurring_any, forms_in_both
from groundscope.corpus.toywords import NOUNS
from groundscope.corpus.toyworld import ToyWorld, ToyWorldOptions
from groundscope.corpus.utterance import Channel, Document, Utterance
from groundscope.errors import CorpusError, VocabularyError

SHARES = (0.0, 0.25, 0.5, 1.0)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    world = ToyWorld(ToyWorldOptions(documents=150, nouns=80))
    folder = tmp_path_factory.mktemp("world") / "corpus"
    return build_corpus(world.documents(), folder, ChunkOptions(length=64), provenance={"reader": "toyworld"})


@pytest.fixture(scope="module")
def words(corpus):
    """Words of which neither all nor no chunks have a pair."""
    nouns = set(NOUNS)
    return tuple(form for form in forms_in_both(corpus.vocabulary) if form in nouns)[:4]


@pytest.fixture(scope="module")
def together(corpus, words):
    held = cooccurring_any(corpus.chunks, corpus.vocabulary, words)
    assert 0.05 < held.mean() < 0.5
    return held


def rows(chunks):
    return [row.tobytes() for row in np.asarray(chunks)]


@pytest.mark.parametrize("arm", Arm)
@pytest.mark.parametrize("share", SHARES)
def test_each_arm_loses_what_it_should(corpus, words, together, arm, share, tmp_path):
    left = ablate(corpus, words, tmp_path / "left", share=share, arm=arm)
    wanted = round(share * together.sum())
    assert len(left.chunks) == len(corpus.chunks) - (0 if arm is Arm.SEPARATED else wanted)
    now = int(cooccurring_any(left.chunks, left.vocabulary, words).sum())
    assert now == Ablation.of(left).cooccurring_left
    assert left.card.share_cooccurring_words == now / len(left.chunks)
    if arm is not Arm.RANDOM:
        assert now == together.sum() - (wanted if arm.takes_cooccurrence else 0)
    elif share:
        of_all = together.mean()
        assert abs(now / len(left.chunks) - of_all) < 4 * np.sqrt(of_all / len(left.chunks)) < of_all, "drawn from all"
    if arm.takes_cooccurrence and share == 1:
        assert not cooccurring(left.chunks, left.vocabulary, words).any()


def test_separation_exchanges_scene_words_and_nothing_else(corpus, words, together, tmp_path):
    left = ablate(corpus, words, tmp_path / "left", share=0.5, arm=Arm.SEPARATED)
    removed = ablate(corpus, words, tmp_path / "removed", share=0.5, arm=Arm.COOCCURRING)
    np.testing.assert_array_equal(left.vocabulary.counts, corpus.vocabulary.counts)
    changed = np.asarray(left.chunks) != corpus.chunks
    assert Ablation.of(left).exchanged == changed.sum() > 0
    shown = [corpus.vocabulary.id(word, Channel.ENV) for word in words]
    assert set(np.asarray(left.chunks)[changed]) <= set(shown)
    assert set(corpus.chunks[changed]) <= set(shown)
    untouched = [row for row, hit in zip(rows(corpus.chunks), changed.any(axis=1), strict=True) if not hit]
    assert untouched == rows(removed.chunks), "the chunks that the paper's ablation removes, and all of them"


def test_words_too_few_to_separate_are_refused(corpus, words, tmp_path):
    with pytest.raises(CorpusError, match=r"find no chunk that does not speak them: the words are too few"):
        ablate(corpus, words[:1], tmp_path / "left", share=1.0, arm=Arm.SEPARATED)
    assert not (tmp_path / "left").exists()


def test_what_is_left_keeps_order_and_ids_and_is_counted_anew(corpus, words, tmp_path):
    left = ablate(corpus, words, tmp_path / "left", share=0.5, arm=Arm.COOCCURRING)
    left.verify()
    assert left.vocabulary.tokens == corpus.vocabulary.tokens
    np.testing.assert_array_equal(
        left.vocabulary.counts, np.bincount(np.ravel(left.chunks), minlength=len(left.vocabulary))
    )
    before = iter(rows(corpus.chunks))
    assert all(row in before for row in rows(left.chunks)), "a subsequence of what was there"
    card = left.card
    assert card.chunks == len(left.chunks)
    assert card.tokens == left.chunks.size
    assert card.provenance["reader"] == "toyworld"
    assert card.provenance["ablation"]["source"] == corpus.card.content_hash
    assert card.content_hash != corpus.card.content_hash
    assert card.share_cooccurring_words == cooccurring_any(left.chunks, left.vocabulary, words).mean()
    assert card.tokens_removed == corpus.chunks.size - left.chunks.size
    for channel in Channel:
        counted = sum(left.vocabulary.count(form, channel) for form in left.vocabulary.forms(channel))
        assert card.words_left[channel] == counted < card.words(channel)
    text = "\n".join(card.lines())
    assert re.search(rf"removed by ablation +{card.tokens_removed:,}\n", text)
    assert f"co-occurring, {len(words)} listed words  {card.share_cooccurring_words:.1%}\n" in text
    assert "removed by ablation" not in "\n".join(corpus.card.lines())


def test_a_series_shares_what_nothing_was_removed_from(corpus, words, tmp_path):
    arms = (Arm.COOCCURRING, Arm.CONTROL)
    assert doses((100, 0), arms) == [(Arm.COOCCURRING, 0), (Arm.COOCCURRING, 100), (Arm.CONTROL, 100)]
    series = ablate_series(corpus, words, tmp_path / "doses", percents=(0, 50), arms=arms)
    assert [left.path.name for left in series] == ["cooccurring-000", "cooccurring-050", "control-050"]
    assert Ablation.of(corpus) is None
    dose = Ablation.of(series[1])
    assert (dose.share, dose.arm, dose.chunks - dose.removed) == (0.5, Arm.COOCCURRING, len(series[1].chunks))
    again = ablate_series(corpus, words, tmp_path / "doses", percents=(0, 50), arms=arms)
    assert [left.card for left in again] == [left.card for left in series]


def test_nothing_foreign_is_replaced(corpus, words, tmp_path):
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes/thesis.txt").write_text("years of work")
    with pytest.raises(CorpusError, match="holds something other than ablated corpora"):
        ablate_series(corpus, words, tmp_path / "notes", percents=(0,), arms=(Arm.CONTROL,))
    with pytest.raises(CorpusError, match="exists and is not a corpus"):
        ablate(corpus, words, tmp_path / "notes", share=0.5, arm=Arm.CONTROL)
    assert (tmp_path / "notes/thesis.txt").is_file()
    left = ablate(corpus, words, tmp_path / "left", share=0.5, arm=Arm.COOCCURRING)
    with pytest.raises(CorpusError, match="left holds another corpus"):
        ablate(corpus, words, left.path, share=0.5, arm=Arm.COOCCURRING, seed=1)
    left.verify()


def test_nothing_removed_is_the_same_text(corpus, words, tmp_path):
    left = ablate(corpus, words, tmp_path / "left", share=0.0, arm=Arm.CONTROL)
    np.testing.assert_array_equal(left.chunks, corpus.chunks)
    assert left.card.content_hash == corpus.card.content_hash


@pytest.mark.parametrize("arm", [arm for arm in Arm if arm is not Arm.SEPARATED])
def test_larger_shares_remove_more_of_the_same(corpus, words, arm, tmp_path):
    kept = [set(rows(ablate(corpus, words, tmp_path / str(s), share=s, arm=arm).chunks)) for s in SHARES]
    assert all(more <= less for less, more in itertools.pairwise(kept))
    same = ablate(corpus, words, tmp_path / "same", share=0.5, arm=arm)
    other = ablate(corpus, words, tmp_path / "other", share=0.5, arm=arm, seed=1)
    assert set(rows(same.chunks)) == kept[2]
    assert set(rows(other.chunks)) != kept[2]


def test_a_corpus_that_co_occurs_everywhere_cannot_be_ablated_away(tmp_path):
    scene = Utterance("CHI", Channel.ENV, ("a", "horse"), "act", 1)
    said = Utterance("CHI", Channel.LAN, ("the", "horse"), "main", 2)
    talk = Document("talk", "", (scene, said) * 20, (), 20)
    corpus = build_corpus([talk], tmp_path / "corpus", ChunkOptions(length=12), provenance={})
    with pytest.raises(CorpusError, match=r"must lose 5 chunks that do not co-occur, but there are 0.*at most 0.00"):
        ablate(corpus, ["horse"], tmp_path / "left", share=0.5, arm=Arm.CONTROL)
    with pytest.raises(CorpusError, match="leaves nothing"):
        ablate(corpus, ["horse"], tmp_path / "left", share=1.0, arm=Arm.COOCCURRING)
    with pytest.raises(VocabularyError, match="dragon"):
        ablate(corpus, ["dragon"], tmp_path / "left", share=1.0, arm=Arm.COOCCURRING)
    assert not (tmp_path / "left").exists()


def test_an_ablated_corpus_opens_like_any_other(corpus, words, tmp_path):
    ablate(corpus, words, tmp_path / "left", share=0.25, arm=Arm.COOCCURRING)
    assert Corpus.open(tmp_path / "left").problems().equals(corpus.problems())


def ablated(corpus, *options):
    """Exit status of ``groundscope corpus ablate``."""
    with pytest.raises(SystemExit) as ended:
        main(["corpus", "ablate", str(corpus.path), *map(str, options)])
    return ended.value.code or 0


def test_the_command_writes_every_dose_and_says_what_it_did(corpus, words, together, tmp_path, capsys):
    common = ("--out", tmp_path / "doses", "--remove", "0,50", "--words", ",".join(words), "--minimum", 1)
    assert ablated(corpus, *common) == 0
    assert {path.name for path in (tmp_path / "doses").iterdir()} == {
        "cooccurring-000", "cooccurring-050", "random-050",
    }  # fmt: skip
    capsys.readouterr()
    assert ablated(corpus, *common, "--arms", "separated") == 0
    none, half = capsys.readouterr().out.splitlines()
    left = f"{together.sum() - round(together.sum() / 2):,} of {together.sum():,} co-occurring ones left"
    assert f"separated-000: 0 of {len(together):,} chunks removed" in none
    assert "exchanged" not in none
    assert left in half
    assert re.search(r"tokens, [\d,]+ scene words exchanged$", half)
    opened = Corpus.open(tmp_path / "doses/separated-050")
    opened.verify()
    assert Ablation.of(opened).words == words


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (
            ["--remove", "50", "--arms", "seperated"],
            "--arms: input should be 'cooccurring', 'separated', 'random' or 'control' (given: 'seperated'). "
            "Did you mean 'separated'?\n",
        ),
        (["--remove", "101"], "--remove: input should be less than or equal to 100"),
        (["--remove", ""], "remove: give at least 1 (given: [])\n"),
        (["--remove", "half"], "--remove: input should be a valid integer"),
        (["--remove", "50,50"], "'50' is listed twice"),
        (["--remove", "50", "--words", "dragon,horse"], "the corpus never has 'dragon<ENV>'"),
        (["--remove", "50", "--out", "."], "holds something other than ablated corpora"),
    ],
)
def test_the_command_refuses_in_a_line(corpus, words, options, told, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "thesis.txt").write_text("years of work")
    common = ("--out", "doses", "--words", ",".join(words), "--minimum", 1)
    assert ablated(corpus, *common, *options) == 2
    (line,) = capsys.readouterr().err.splitlines(keepends=True)
    assert told in line
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]
