"""The viewer's data: every number of the table is where the page looks for it."""

import pytest

from groundscope.mechanism.prompt_saliency import PROMPT_SALIENCY
from groundscope.report.sections_prompts import UNIT, prompt_data

TOKENS = {"dog": ("<CHI>", "looks<ENV>", "dog<ENV>", "the<LAN>"), "cat": ("<CHI>", "a<ENV>", "cat<ENV>")}


def flow(step: int, layer: int, position: int) -> float:
    return (step + 10 * layer + position) / 100


def rows() -> list[dict]:
    return [
        {"arch": arch, "seed": 1, "step": step, "tokens_seen": step, "weight_hash": "x", "word": word, "context": "c",
         "layer": layer, "position": position, "token": token, "ground": position == 2,
         "flow_nats": flow(step, layer, position), "surprisal_nats": 5.0 - step}
        for arch in ("b", "a") for word, tokens in TOKENS.items() for step in (0, 3) for layer in (0, 1)
        for position, token in enumerate(tokens)
    ]  # fmt: skip


def test_flows_are_laid_out_by_step_layer_and_token() -> None:
    data = prompt_data(PROMPT_SALIENCY.frame(rows()), ("a", "b", "lstm"))
    assert list(data) == ["a", "b"]
    assert data["a"]["steps"] == [0, 3]
    assert data["a"]["layers"] == [0, 1]
    cat, dog = data["a"]["prompts"]
    assert dog["tokens"] == list(TOKENS["dog"])
    assert (cat["ground"], dog["ground"]) == (2, 2)
    assert dog["surprisal"] == [5.0, 2.0]
    for at, step in enumerate((0, 3)):
        for layer in (0, 1):
            shown = [value * UNIT for value in dog["flow"][at][layer]]
            assert shown == pytest.approx([flow(step, layer, position) for position in range(4)])
