"""When each word is grounded, and whether models and children agree about the order."""

from pathlib import Path

import numpy as np
import polars as pl
from jaxtyping import Float
from scipy.stats import rankdata
from scipy.stats import t as student

from groundscope.behaviour.evidence import Course
from groundscope.behaviour.generalisation import courses_by_model
from groundscope.errors import TableError
from groundscope.statistics.corrections import benjamini_hochberg
from groundscope.statistics.emergence import lasting_from
from groundscope.statistics.regression import correlation, partial_correlation
from groundscope.statistics.resampling import bootstrap, generator
from groundscope.tables import Column, TableSchema

WORD_EMERGENCE = TableSchema(
    "word_emergence",
    "one word in one architecture and direction, over seeds and contexts",
    (
        Column("arch", pl.String(), "name of the model in the study file"),
        Column("direction", pl.String(), "cue to target"),
        Column("word", pl.String(), "the word that is predicted"),
        Column("n_contexts", pl.Int64(), "contexts, each averaged over seeds"),
        Column("emergence_step", pl.Int64(), "first checkpoint after which G's interval stays above 0; null: none"),
        Column("gain_nats", pl.Float64(), "G at the last checkpoint"),
        Column("gain_low", pl.Float64(), "lower end of its t interval over contexts"),
        Column("gain_high", pl.Float64(), "upper end of its t interval over contexts"),
        Column("p", pl.Float64(), "p value of G > 0 at the last checkpoint, t test over contexts"),
        Column("p_bh", pl.Float64(), "p after Benjamini and Hochberg's correction over words"),
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
        Column("rho_partial", pl.Float64(), "the same with the word's frequency in speech held"),
        Column("rho_partial_low", pl.Float64(), "lower end of its interval"),
        Column("rho_partial_high", pl.Float64(), "upper end of its interval"),
    ),
)


def word_emergence(surprisal: pl.DataFrame, *, confidence: float = 0.95) -> pl.DataFrame:
    """Return table `WORD_EMERGENCE` from table ``surprisal``.

    A word's gain is averaged over seeds in each context, and contexts are the units of its interval: it says how sure
    the word's gain is for other contexts, with these seeds. Only checkpoints that all seeds have count.
    """
    index = ["arch", "direction", "seed", "step", "context", "word"]
    everyone = pl.col("seed").n_unique().over("arch", "direction", "step")
    gains = (
        surprisal.pivot("condition", index=index, values="surprisal_nats")
        .with_columns((pl.col("mismatch") - pl.col("match")).alias("gain"))
        .drop_nulls("gain")
        .filter(everyone == pl.col("seed").n_unique().over("arch", "direction"))
    )
    over_seeds = gains.group_by("arch", "direction", "word", "context", "step").agg(pl.col("gain").mean())
    moments = over_seeds.group_by("arch", "direction", "word", "step").agg(
        pl.len().alias("n"), pl.col("gain").mean(), pl.col("gain").std().alias("sd")
    )
    frames = [
        _emergence_of_words(rows, confidence).with_columns(
            pl.lit(arch).alias("arch"), pl.lit(direction).alias("direction")
        )
        for (arch, direction), rows in moments.sort("arch", "direction", "word", "step").group_by(
            "arch", "direction", maintain_order=True
        )
    ]
    if not frames:
        return WORD_EMERGENCE.frame([])
    return WORD_EMERGENCE.conform(pl.concat(frames)).with_columns(pl.selectors.float().fill_nan(None))


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
    ages: dict[str, float],
    *,
    resamples: int = 2000,
    confidence: float = 0.95,
    seed: int = 0,
) -> pl.DataFrame:
    """Return table `ACQUISITION` from tables ``word_emergence`` and ``gain`` and the children's ages in months.

    Words that no checkpoint grounds rank behind all others. Frequent words come early in children and in models alike;
    the partial correlation holds the (ranked) frequency in the speech that the model was trained on. Models with fewer
    than five words of known age are left out.
    """
    rows = []
    for (arch, direction), courses in courses_by_model(gain).items():
        mine = words.filter(arch=arch, direction=direction).filter(pl.col("word").is_in(list(ages))).sort("word")
        if mine.height < 5:
            continue
        steps = mine["emergence_step"].fill_null(courses[0].step[-1] + 1).to_numpy()
        age = np.array([ages[word] for word in mine["word"]])
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


def _emergence_of_words(rows: pl.DataFrame, confidence: float) -> pl.DataFrame:
    steps, words = rows["step"].unique().sort(), rows["word"].unique(maintain_order=True)
    shape = (len(words), len(steps))
    numbers = rows.select(pl.col("n", "gain", "sd").cast(pl.Float64).fill_null(np.nan))
    n, gain, sd = (column.to_numpy().reshape(shape) for column in numbers)
    free = np.maximum(n - 1, 1)
    error = sd / np.sqrt(n)
    half = student.ppf((1 + confidence) / 2, free) * error
    position = lasting_from(gain - half)
    ratio = np.divide(gain[:, -1], error[:, -1], out=np.full(len(words), np.nan), where=error[:, -1] > 0)
    p = student.sf(ratio, free[:, -1])
    known = [*steps.to_list(), None]
    return pl.DataFrame(
        {
            "word": words,
            "n_contexts": n[:, -1].astype(np.int64),
            "emergence_step": [known[at] for at in position],
            "gain_nats": gain[:, -1],
            "gain_low": (gain - half)[:, -1],
            "gain_high": (gain + half)[:, -1],
            "p": p,
            "p_bh": benjamini_hochberg(p),
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
