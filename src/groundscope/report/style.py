"""How figures look: colours that every eye can tell apart, marks that do not need colour, and the step axis."""

import math
from collections.abc import Iterable
from dataclasses import dataclass

from groundscope.report.numbers import compact

# Okabe & Ito (2008), in an order that keeps neighbours apart. Orange and sky blue are a shade darker than theirs, so
# that every colour reaches a contrast of 3 on white and on black; their black and yellow cannot. Grey is for what is
# no model.
GREY = "#8A8A8A"
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#B87F00", "#3E9BD1")
# Plotly's name of each symbol -> its outline in a box of 20 x 12, for legends
SYMBOLS = {
    "circle": "M10 2a4 4 0 1 0 .01 0z",
    "square": "M6.4 2.4h7.2v7.2h-7.2z",
    "diamond": "M10 1.2l4.8 4.8l-4.8 4.8l-4.8-4.8z",
    "triangle-up": "M10 1.4l4.7 8.2h-9.4z",
    "triangle-down": "M10 10.6l-4.7-8.2h9.4z",
    "pentagon": "M10 1.6l4.4 3.2l-1.7 5.2h-5.4l-1.7-5.2z",
    "hexagon": "M5.4 6l2.3-4h4.6l2.3 4l-2.3 4h-4.6z",
}


@dataclass(frozen=True, slots=True)
class Mark:
    """The colour and symbol of one model, the same in every figure."""

    colour: str
    symbol: str

    @property
    def outline(self) -> str:
        """The symbol as an SVG path."""
        return SYMBOLS[self.symbol]

    def veil(self, opacity: float) -> str:
        """The colour as a translucent fill."""
        red, green, blue = (int(self.colour[at : at + 2], 16) for at in (1, 3, 5))
        return f"rgba({red},{green},{blue},{opacity})"


def marks(archs: Iterable[str]) -> dict[str, Mark]:
    """Give each model its mark, by position; after six models colours repeat with other symbols."""
    symbols = tuple(SYMBOLS)
    return {
        arch: Mark(COLOURS[index % len(COLOURS)], symbols[index % len(symbols)]) for index, arch in enumerate(archs)
    }


@dataclass(frozen=True, slots=True)
class StepAxis:
    """Training steps on a logarithmic scale that has room for step 0: position = log10(1 + step / unit).

    ``unit`` is the first checkpoint after 0: from there on the scale is close to a plain logarithm.
    """

    steps: tuple[int, ...]
    tokens: tuple[int, ...]

    @property
    def unit(self) -> int:
        """The scale's linear part, in steps."""
        return next((step for step in self.steps if step > 0), 1)

    def position(self, step: int) -> float:
        """Where a step stands on the logarithmic scale."""
        return round(math.log10(1 + step / self.unit), 4)

    @property
    def log_ticks(self) -> list[int]:
        """Round steps, far enough apart to be read at any width."""
        last = self.steps[-1]
        if not last:
            return [0]
        decades = range(int(math.log10(self.unit)), int(math.log10(last)) + 1)
        round_steps = [base * 10**decade for decade in decades for base in (1, 2, 5)]
        wanted = [0, last, self.unit, *(step for step in round_steps if self.unit < step < last)]
        return sorted(self._spread(wanted, self.position))

    @property
    def linear_ticks(self) -> list[int]:
        """Round steps at even distances."""
        last = self.steps[-1]
        rough = max(last, 1) / 5
        scale = 10 ** math.floor(math.log10(rough))
        stride = max(1, int(scale * min((1, 2, 2.5, 5, 10), key=lambda base: abs(base * scale - rough))))
        return list(range(0, last + 1, stride))

    def tokens_at(self, step: int) -> float | None:
        """Tokens seen at a step, in proportion between checkpoints; None where models saw different amounts."""
        if len(set(self.steps)) < len(self.steps) or not self.steps[-1]:
            return None
        return self.tokens[-1] * step / self.steps[-1]

    def layout(self, scale: str) -> dict:
        """The ticks of both axes, steps below and tokens above, for ``scale`` log or linear."""
        ticks = self.log_ticks if scale == "log" else self.linear_ticks
        where = [self.position(step) for step in ticks] if scale == "log" else ticks
        end = (self.position(self.steps[-1]) if scale == "log" else self.steps[-1]) or 1
        return {
            "unit": self.unit,
            "tickvals": where,
            "steps": [compact(step) for step in ticks],
            "tokens": [compact(self.tokens_at(step)) for step in ticks],
            "range": [round(-0.025 * end, 4), round(1.025 * end, 4)],
        }

    def _spread(self, wanted: list[int], position) -> list[int]:
        """Keep the first of any two that stand closer than an eighth of the axis; earlier ones are preferred."""
        least, kept = position(self.steps[-1]) / 8, []
        for step in wanted:
            if all(abs(position(step) - position(other)) >= least for other in kept):
                kept.append(step)
        return kept


def thinned(count: int, most: int) -> list[int]:
    """Return at most about ``most`` places of ``count``, the first and the last among them."""
    stride = -(-count // most)
    return sorted({*range(0, count, stride), count - 1} - ({count - 2} if stride > 1 else set()))


def step_axis(steps: Iterable[int], tokens: Iterable[int]) -> StepAxis:
    """The axis of these checkpoints (any order, repetitions allowed)."""
    pairs = sorted(set(zip(steps, tokens, strict=True)))
    return StepAxis(tuple(step for step, _ in pairs), tuple(count for _, count in pairs))
