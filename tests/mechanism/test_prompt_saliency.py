"""Single prompts token by token: the ground's bar is the layer's score, whatever else is shown."""

import pytest
import torch

from groundscope.mechanism.prompt_saliency import PROMPT_SALIENCY, prompt_saliency
from groundscope.mechanism.prompts import PromptBatch
from groundscope.mechanism.saliency import saliency
from groundscope.mechanism.study_prompts import MECHANISM_PROMPTS, StudyPrompts
from groundscope.models.presets import build, preset

IDENTITY = {"arch": "a", "seed": 1, "step": 5, "tokens_seen": 50, "weight_hash": "x"}


def prompts() -> StudyPrompts:
    """Three prompts of two lengths, grouped as a study groups them."""
    generator = torch.Generator().manual_seed(0)
    groups, rows = [], []
    for numbers, length in (([4], 5), ([1, 9], 7)):
        ids = torch.randint(0, 20, (len(numbers), length), generator=generator)
        ground = torch.full((len(numbers),), 2)
        targets = torch.arange(len(numbers))
        groups.append(PromptBatch.with_ground_at(ids, targets, ground, numbers=torch.tensor(numbers)))
        rows += [
            {"prompt": number, "word": f"w{number}", "context": "c", "tokens": " ".join(f"t{token}" for token in row),
             "length": length, "ground": 2, "mismatches": ""}
            for number, row in zip(numbers, ids.tolist(), strict=True)
        ]  # fmt: skip
    return StudyPrompts(tuple(groups), MECHANISM_PROMPTS.frame(rows))


@pytest.mark.parametrize("name", ["transformer-4", "mamba2-4"])
def test_the_grounds_bar_is_the_layers_score(name: str) -> None:
    sizes = {"n_heads": 2} if name == "transformer-4" else {"ssm_d_head": 16}
    model = build(preset(name, 20, n_layers=2, d_model=16, **sizes), 0).eval()
    shown = prompts()
    table = prompt_saliency(model, shown, IDENTITY)
    assert table.height == 2 * (5 + 7 + 7)
    for group in shown.groups:
        found = saliency(model, group)
        for place, number in enumerate(group.numbers.tolist()):
            rows = table.filter(word=f"w{number}", ground=True).sort("layer")
            assert rows["flow_nats"].to_list() == pytest.approx(found.layer_flow[place].tolist(), rel=1e-5)
            assert rows["position"].to_list() == [2, 2]
            assert rows["surprisal_nats"][0] == pytest.approx(float(found.surprisal[place]), rel=1e-6)


def test_a_model_without_heads_has_no_rows() -> None:
    model = build(preset("lstm-4", 20, n_layers=1, d_model=8), 0).eval()
    table = prompt_saliency(model, prompts(), IDENTITY)
    assert table.is_empty()
    assert table.columns == list(PROMPT_SALIENCY.dtypes)
