"""What each setting of a model may be: told to people before anything is built."""

import dataclasses
import difflib
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from transformers import PretrainedConfig

from groundscope.errors import ModelError


@dataclass(frozen=True, slots=True)
class _Number:
    """A whole number, or any finite one, between bounds."""

    whole: bool
    low: int
    low_itself: bool = True  # whether the lower bound is allowed
    below: int | None = None

    def fits(self, value: object) -> bool:
        """Whether a setting may have this value; True and False are no numbers here."""
        if isinstance(value, bool) or not isinstance(value, int if self.whole else int | float):
            return False
        high_enough = value >= self.low if self.low_itself else value > self.low
        return math.isfinite(value) and high_enough and (self.below is None or value < self.below)

    def __str__(self) -> str:
        kind = "a whole number" if self.whole else "a number"
        low = f"of at least {self.low}" if self.low_itself else f"above {self.low}"
        return f"{kind} {low}" + ("" if self.below is None else f" and below {self.below}")


_SIZE = _Number(whole=True, low=1)
_PROBABILITY = _Number(whole=False, low=0, below=1)
_POSITIVE = _Number(whole=False, low=0, low_itself=False)

_NUMBERS: Mapping[str, _Number] = {
    **dict.fromkeys(("vocab_size", "n_layers", "d_model", "n_heads", "d_mlp", "n_positions"), _SIZE),
    **dict.fromkeys(("ssm_expand", "ssm_d_head", "ssm_d_state", "ssm_n_groups", "ssm_d_conv", "ssm_chunk"), _SIZE),
    **dict.fromkeys(("dropout", "attention_dropout"), _PROBABILITY),
    **dict.fromkeys(("norm_eps", "initializer_range", "ssm_dt_min", "ssm_dt_max", "ssm_a_min", "ssm_a_max"), _POSITIVE),
}
_SWITCHES = ("tie_word_embeddings", "output_bias", "ssm_mlp")


def check_settings(settings: Mapping[str, Any]) -> None:
    """Raise ModelError for the first setting whose value its kind or its bounds forbid.

    Settings without a bound of their own are left to whoever knows them.
    """
    for name, value in settings.items():
        if name in _NUMBERS and not _NUMBERS[name].fits(value):
            raise ModelError(f"{name} should be {_NUMBERS[name]}, given: {value!r}.{_yaml_hint(value)}")
        if name in _SWITCHES and not isinstance(value, bool):
            raise ModelError(f"{name} should be true or false, given: {value!r}.")
        if name == "mixers" and (isinstance(value, str) or not all(isinstance(mixer, str) for mixer in _items(value))):
            raise ModelError(f"mixers should be a list of names, one per layer, given: {value!r}.")


def refuse_misspelt(config: PretrainedConfig, names: Iterable[str]) -> None:
    """Raise ModelError for the first name that is no setting of ``config``, but nearly the name of one.

    Names that are like none must pass: Hugging Face keeps much of its own in config.json.
    """
    theirs = {field.name for field in dataclasses.fields(PretrainedConfig)}
    ours = [field.name for field in dataclasses.fields(config) if field.name not in theirs]
    for name in names:
        for near in difflib.get_close_matches(name, ours, n=1, cutoff=0.8):  # none of Hugging Face's is as near
            raise ModelError(f"A {type(config).__name__} has no setting '{name}'. Did you mean '{near}'?")


def _items(value: Any) -> list[Any]:
    """The entries of a list; of anything else the thing itself."""
    return list(value) if isinstance(value, list | tuple) else [value]


def _yaml_hint(value: Any) -> str:
    """YAML takes 1e-5 for text: a number there has a point."""
    if not isinstance(value, str):
        return ""
    try:
        number = float(value)
    except ValueError:
        return ""
    text = value if value.isdecimal() else format(number, ".1e") if "e" in repr(number) else number
    return f" It is text; write {text} without quotes."
