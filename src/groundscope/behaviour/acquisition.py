"""When each word is grounded, and whether models and children agree about the order."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import polars as pl
from jaxtyping import Float
from scipy.stats import chi2, rankdata

from groundscope.behaviour.evidence import Course
from groundscope.behaviour.generalisation import courses_by_model
from groundscope.errors import TableError
from groundscope.statistics.corrections import LEVEL, benjamini_hochberg
from groundscope.statistics.emergence import lasting_from
from groundscope.statistics.regression import correlation, partial_correlation
from groundscope.statistics.resampling import bootstrap, generator
from groundscope.tables import Column, TableSchema

WORD_EMERGENCE = TableSchema(
    "word_emergence",
    "one word in one architecture and direction, over seeds",
    (
        Column("arch", pl.String(), "name of the model in the study file"),
        Column("direction", pl.String(), "cue to target"),
        Column("word", pl.String(), "the word that is predicted"),
        Column("kind", pl.String(), "noun, verb or adjective"),
        Column("category", pl.String(), "category within the kind"),
        Column("n_seeds", pl.Int64(), "seeds"),
        Column("emergence_step", pl.Int64(), "first checkpoint after which p stays below .05; null: none"),
        Column("gain_nats", pl.Float64(), "G at the last checkpoint, mean over seeds"),
        Column("p", pl.Float64(), "p value of G > 0 there: exchanged scenes, seeds combined (Fisher)"),
        Column("p_bh", pl.Float64(), "p after Benjamini and Hochberg's correction over words"),
        Column("age_months", pl.Float64(), "age at which half of the children say the word; null: not known"),
    ),
)
ACQUISITION = TableSchema(
    "acquisition",
    "agreement of one architecture with children about the order of words",
    (
        Column("arch", pl.String(), "name of the model in the study file"),
        Column("direction", pl.String(), "cue to target"),
        Column("n_words", pl.Int64(), "words with an age of acquisition"),
        Column("rho", pl.Float64(), "Spearman correlation of emergence step and age of acquisition"),
        Column("rho_low", pl.Float64(), "lower end of its bootstrap interval over words"),
        Column("rho_high", pl.Float64(), "upper end of its bootstrap interval over words"),
        Column("p", pl.Float64(), "p value of rho = 0, permutation of words"),
        Column("rho_partial", pl.Float64(), "the same with the word's frequency in the target's channel held"),
        Column("rho_partial_low", pl.Float64(), "lower end of its interval"),
        Column("rho_partial_high", pl.Float64(), "upper end of its interval"),
    ),
)


def word_emergence(
    gain: pl.DataFrame, ages: Mapping[str, float] | None = None, *, level: float = LEVEL
) -> pl.DataFrame:
    """Return table `WORD_EMERGENCE` from table ``gain`` and the children's ages of acquisition in months.

    A single word is tested by exchanging scenes (column ``p_scene``): even an untrained model gives some words a
    tiny gain that is the same in every context, so that a test over contexts would find grounding in noise. The
    seeds' p values are combined by Fisher's method, which takes them for independent; seeds share their corpus, and
    so are not quite (with shuffled scenes 4 to 8 % of words had p < .05 after training on CHILDES). Only
    checkpoints that all seeds have count. Words that could not reach ``level`` whatever their gain, for too few
    scenes are exchanged (`can_emerge`), are left out.
    """
    known = (
        gain.drop_nulls("p_scene")
        .filter(can_emerge(level))
        .filter(
            pl.col("seed").n_unique().over("arch", "direction", "step")
            == pl.col("seed").n_unique().over("arch", "direction")
        )
    )
    frames = [
        _emergence_of_words(rows, level).with_columns(pl.lit(arch).alias("arch"), pl.lit(direction).alias("direction"))
        for (arch, direction), rows in known.sort("arch", "direction", "word", "step", "seed").group_by(
            "arch", "direction", maintain_order=True
        )
    ]
    if not frames:
        return WORD_EMERGENCE.frame([])
    age = pl.col("word").replace_strict(dict(ages or {}), default=None, return_dtype=pl.Float64)
    return WORD_EMERGENCE.conform(pl.concat(frames).with_columns(age.alias("age_months")))


def can_emerge(level: float = LEVEL) -> pl.Expr:
    """Whether the smallest p that a row's word can have, over the seeds of its course, lies below ``level``.

    With M mismatched scenes one seed's p is at least 1 / (M + 1): ten scenes and one seed prove nothing.
    """

    def smallest_combined(course: pl.Series) -> bool:
        seeds = course.struct.field("seed").n_unique()
        least = course.struct.field("n_mismatches").to_numpy().min()
        return bool(chi2.sf(2 * seeds * np.log1p(least), 2 * seeds) < level)

    rows = pl.struct("seed", "n_mismatches")
    tested = rows.map_batches(smallest_combined, return_dtype=pl.Boolean, returns_scalar=True)
    return tested.over("arch", "direction", "kind", "word")


def read_acquisition(path: Path, word: str = "definition", months: str = "aoa_months_50pct") -> dict[str, float]:
    """Read ages of acquisition, in months, from a CSV file with a column of words and one of ages.

    The defaults are the names in tables derived from Wordbank. A word listed twice keeps the earlier age. Raises
    TableError where the file or a column is missing.
    """
    try:
        table = pl.read_csv(path, infer_schema_length=None)
    except (OSError, pl.exceptions.PolarsError) as error:
        raise TableError(f"{path} cannot be read as CSV: {' '.join(str(error).split())}") from None
    if missing := {word, months} - set(table.columns):
        raise TableError(f"{path} has no column {', '.join(sorted(missing))}; it has {', '.join(table.columns)}.")
    ages = table.select(pl.col(word), pl.col(months).cast(pl.Float64, strict=False)).drop_nulls()
    return dict(ages.group_by(word).agg(pl.col(months).min()).iter_rows())


def acquisition(
    words: pl.DataFrame,
    gain: pl.DataFrame,
    *,
    resamples: int = 2000,
    confidence: float = 0.95,
    seed: int = 0,
) -> pl.DataFrame:
    """Return table `ACQUISITION` from tables ``word_emergence``, with the children's ages, and ``gain``.

    Words that no checkpoint grounds rank behind all others. Frequent words come early in children and in models alike;
    the partial correlation holds the (ranked) frequency in the target's channel of what the model was trained on.
    Models with fewer than five words of known age are left out.
    """
    rows = []
    for (arch, direction), courses in courses_by_model(gain).items():
        mine = words.filter(arch=arch, direction=direction).drop_nulls("age_months").sort("word")
        if mine.height < 5:
            continue
        steps = mine["emergence_step"].fill_null(courses[0].step[-1] + 1).to_numpy()
        age = mine["age_months"].to_numpy()
        frequency = _frequency(courses, mine["word"].to_list())
        ranks = [rankdata(values)[:, None] for values in (steps, age, frequency)]
        rng = generator(seed, "resamples of words")
        plain = bootstrap(correlation(*ranks[:2]), len(age), draws=resamples, rng=rng, level=confidence)
        partial = bootstrap(partial_correlation(*ranks), len(age), draws=resamples, rng=rng, level=confidence)
        rows.append(
            {
                "arch": arch,
                "direction": direction,
                "n_words": len(age),
                "rho": plain.estimate[0],
                "rho_low": plain.low[0],
                "rho_high": plain.high[0],
                "p": _permutation_p(ranks[0][:, 0], ranks[1][:, 0], generator(seed, "permutations of words")),
                "rho_partial": partial.estimate[0],
                "rho_partial_low": partial.low[0],
                "rho_partial_high": partial.high[0],
            }
        )
    return ACQUISITION.frame(rows).with_columns(pl.selectors.float().fill_nan(None))


def _emergence_of_words(rows: pl.DataFrame, level: float) -> pl.DataFrame:
    steps, words = rows["step"].unique().sort(), rows["word"].unique(maintain_order=True)
    n_seeds = rows["seed"].n_unique()
    p, gain = (rows[name].to_numpy().reshape(len(words), len(steps), n_seeds) for name in ("p_scene", "gain_nats"))
    combined = chi2.sf(-2 * np.log(p).sum(axis=-1), 2 * n_seeds)
    at_each_step = [*steps.to_list(), None]
    return pl.DataFrame(
        {
            "word": words,
            "kind": rows["kind"].gather_every(len(steps) * n_seeds),
            "category": rows["category"].gather_every(len(steps) * n_seeds),
            "n_seeds": n_seeds,
            "emergence_step": [at_each_step[at] for at in lasting_from(level - combined)],
            "gain_nats": gain[:, -1].mean(axis=-1),
            "p": combined[:, -1],
            "p_bh": benjamini_hochberg(combined[:, -1]),
        },
        schema_overrides={"emergence_step": pl.Int64},
    )


def _frequency(courses: list[Course], words: list[str]) -> Float[np.ndarray, " word"]:
    place = {word: at for at, word in enumerate(courses[0].words)}
    return courses[0].frequency[[place[word] for word in words], -1]


def _permutation_p(x: np.ndarray, y: np.ndarray, rng: np.random.Generator, draws: int = 9999) -> float:
    """Two-sided permutation test of a correlation; the observed order is counted in."""
    centred = y - y.mean()
    observed = abs(float(x @ centred))
    null = np.abs(rng.permuted(np.tile(x, (draws, 1)), axis=1) @ centred)
    return float((1 + (null >= observed * (1 - 1e-12)).sum()) / (1 + draws))
