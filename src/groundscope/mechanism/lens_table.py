"""Tables of lenses: the target's surprisal at each layer, and how well each lens fits."""

from collections.abc import Mapping, Sequence

import polars as pl
import torch
from jaxtyping import Float
from torch import Tensor

from groundscope.mechanism.head_tables import Identity
from groundscope.tables import CHECKPOINT_COLUMNS, Column, TableSchema

_LENS = Column("lens", pl.String(), "logit: final norm and unembedding; tuned: residual; linear: with its own norm")
LENS = TableSchema(
    "lens",
    "one word in one condition, read at one layer of one checkpoint",
    (
        *CHECKPOINT_COLUMNS,
        _LENS,
        Column("layer", pl.Int64(), "layers passed: 0 embedding, k after the paper's Lk, last the model's own output"),
        Column("condition", pl.String(), "match or mismatch"),
        Column("word", pl.String(), "the target"),
        Column("n_prompts", pl.Int64(), "prompts averaged over"),
        Column("surprisal_nats", pl.Float64(), "-ln P(target) as read at this layer, mean over prompts"),
    ),
)
LENS_FIT = TableSchema(
    "lens_fit",
    "one layer's lens at one checkpoint",
    (
        *CHECKPOINT_COLUMNS,
        _LENS,
        Column("layer", pl.Int64(), "layers passed, counted from 0 (embedding)"),
        Column("kl_nats", pl.Float64(), "mean KL(model's prediction || lens) over tokens the lens was not trained on"),
        Column("trained_tokens", pl.Int64(), "tokens that the lens was trained on; 0 for the logit lens"),
    ),
)


def lens_table(
    readings: Mapping[str, Float[Tensor, "prompt state"]],
    conditions: Sequence[str],
    words: Sequence[str],
    identity: Identity,
) -> pl.DataFrame:
    """Return table `LENS` of one checkpoint from `lens_surprisal`'s readings by kind of lens.

    ``conditions`` and ``words`` say what each prompt is; prompts alike in both are averaged.
    """
    prompts = pl.DataFrame({"condition": list(conditions), "word": list(words)})
    frames = [
        prompts.with_columns(
            pl.lit(kind).alias("lens"), pl.lit(layer).alias("layer"), pl.Series("nats", column.double().numpy())
        )
        for kind, reading in readings.items()
        for layer, column in enumerate(reading.T)
    ]
    rows = (
        pl.concat(frames)
        .group_by("lens", "layer", "condition", "word", maintain_order=True)
        .agg(pl.len().alias("n_prompts"), pl.col("nats").mean().alias("surprisal_nats"))
    )
    return LENS.conform(rows.with_columns(**{name: pl.lit(value) for name, value in identity.items()}))


def lens_fit_table(fits: Mapping[str, tuple[Float[Tensor, " layer"], int]], identity: Identity) -> pl.DataFrame:
    """Return table `LENS_FIT` of one checkpoint: by kind of lens, `lens_fit`'s layers and the tokens trained on."""
    rows = [
        {**identity, "lens": kind, "layer": layer, "kl_nats": value, "trained_tokens": tokens}
        for kind, (fit, tokens) in fits.items()
        for layer, value in enumerate(torch.as_tensor(fit).tolist())
    ]
    return LENS_FIT.frame(rows)
