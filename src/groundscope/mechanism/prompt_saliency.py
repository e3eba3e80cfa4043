"""What single prompts look like from the inside: how much flows from each token into the prediction, layer by layer."""

import polars as pl

from groundscope.mechanism.head_tables import Identity
from groundscope.mechanism.saliency import saliency
from groundscope.mechanism.study_prompts import StudyPrompts
from groundscope.models.base import LanguageModel
from groundscope.tables import CHECKPOINT_COLUMNS, Column, TableSchema

PROMPT_SALIENCY = TableSchema(
    "prompt_saliency",
    "one token of one prompt at one layer of one checkpoint",
    (
        *CHECKPOINT_COLUMNS,
        Column("word", pl.String(), "the predicted word"),
        Column("context", pl.String(), "name of the context"),
        Column("layer", pl.Int64(), "counted from 0 (the paper's figures count from 1)"),
        Column("position", pl.Int64(), "of the token, counted from 0"),
        Column("token", pl.String(), "the token as the vocabulary has it, e.g. horse<ENV>"),
        Column("ground", pl.Boolean(), "whether it is the scene's word"),
        Column("flow_nats", pl.Float64(), "|sum over heads of A dL/dA| from this position into the last one"),
        Column("surprisal_nats", pl.Float64(), "surprisal of the word in this prompt"),
    ),
)


def prompt_saliency(model: LanguageModel, prompts: StudyPrompts, identity: Identity) -> pl.DataFrame:
    """Return table `PROMPT_SALIENCY` of one checkpoint; it is empty for a model without heads.

    Heads are summed before the absolute value is taken, as in the score of a layer (method, section 5).
    """
    described = {row["prompt"]: row for row in prompts.table.iter_rows(named=True)}
    rows = []
    for group in prompts.groups:
        found = saliency(model, group, rows="last", keep_maps=group.numbers.tolist())
        surprisal = dict(zip(found.numbers.tolist(), found.surprisal.tolist(), strict=True))
        for number, heads in zip(found.kept.tolist(), found.maps[:, :, 0], strict=True):
            about = described[number]
            for layer in found.index.chosen_layers if len(found.index) else ():
                flow = heads[found.index.of_layer(layer)].sum(dim=0).abs().tolist()
                rows += [
                    {
                        **identity,
                        "word": about["word"],
                        "context": about["context"],
                        "layer": layer,
                        "position": position,
                        "token": token,
                        "ground": position == about["ground"],
                        "flow_nats": flow[position],
                        "surprisal_nats": surprisal[number],
                    }
                    for position, token in enumerate(about["tokens"].split(" "))
                ]
    return PROMPT_SALIENCY.frame(rows)
