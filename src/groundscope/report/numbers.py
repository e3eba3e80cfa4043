"""Numbers as people read them: few digits, a real minus sign, no false precision."""

import math

Number = float | int
MISSING = "–"
FIXED = "\N{NO-BREAK SPACE}"  # where a line must not break: within an interval, before a unit


def decimal(value: Number | None, digits: int = 2) -> str:
    """Write ``1.84``; a negative number gets a true minus sign, a missing one a dash."""
    if value is None or not math.isfinite(value):
        return MISSING
    text = f"{abs(value):,.{digits}f}"
    return f"−{text}" if value < 0 and float(text.replace(",", "")) > 0 else text


def share(value: Number | None, digits: int = 2) -> str:
    """Write a number within [0, 1] without its leading zero: ``.26``."""
    text = decimal(value, digits)
    return text.replace("0.", ".", 1) if text.lstrip("−").startswith("0.") else text


def interval(low: Number | None, high: Number | None, digits: int = 2) -> str:
    """Write ``[1.60, 2.10]``."""
    return _bracketed(decimal(low, digits), decimal(high, digits))


def share_interval(low: Number | None, high: Number | None) -> str:
    """Write ``[.12, .40]``."""
    return _bracketed(share(low), share(high))


def p_level(p: Number | None) -> str:
    """Write ``< .001``, ``.031`` or ``> .999``, as in a table's cell."""
    if p is not None and not 0.001 <= p <= 0.999:
        return "< .001" if p < 0.001 else "> .999" if p > 0.999 else MISSING
    return share(p, 3)


def p_value(p: Number | None) -> str:
    """Write ``p < .001`` or ``p = .031``."""
    level = p_level(p)
    return (f"p {level}" if level[0] in "<>" else f"p = {level}").replace(" ", FIXED)


def holm_p(p: Number | None) -> str:
    """Write ``Holm p = .031``, corrected for the number of tests; an interval beside it is not."""
    return f"Holm{FIXED}{p_value(p)}"


def whole(value: Number | None) -> str:
    """Write ``12,288``."""
    return decimal(value, 0)


def digits_for(*values: Number | None) -> int:
    """How many decimals these numbers need so that the largest does not vanish: 2, or up to 4 for tiny ones."""
    largest = max((abs(value) for value in values if value is not None and math.isfinite(value)), default=1)
    return 2 if largest >= 0.05 else 3 if largest >= 0.005 else 4


def nats(value: Number | None, digits: int = 2) -> str:
    """Write ``1.84 nats``."""
    return f"{decimal(value, digits)}{FIXED}nats"


def nats_within(value: Number | None, low: Number | None, high: Number | None) -> str:
    """Write ``0.005 nats [0.003, 0.007]``, an estimate within its interval, in as many decimals as they need."""
    digits = digits_for(value, low, high)
    return f"{nats(value, digits)} {interval(low, high, digits)}"


def compact(value: Number | None) -> str:
    """Write ``150``, ``1.5k``, ``12.3M``: at most three digits and a unit."""
    if value is None or not math.isfinite(value):
        return MISSING
    for size, unit in ((1e9, "B"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= size * 0.9995:
            return f"{value / size:.3g}{unit}".replace("-", "−")
    return f"{value:.3g}".replace("-", "−")


def percent(value: Number | None, digits: int = 1) -> str:
    """Write a share as ``34.2 %``."""
    return MISSING if value is None else f"{decimal(100 * value, digits)}{FIXED}%"


def listing(items: list[str]) -> str:
    """Join as in a sentence: ``a``, ``a and b``, ``a, b and c``."""
    return items[0] if len(items) == 1 else f"{', '.join(items[:-1])} and {items[-1]}" if items else ""


def rounded(values: list[Number | None], digits: int) -> list[Number | None]:
    """Round for embedding: what a reader cannot see costs bytes; not-a-number becomes None."""
    return [None if value is None or not math.isfinite(value) else round(value, digits) for value in values]


def _bracketed(low: str, high: str) -> str:
    return MISSING if low == high == MISSING else f"[{low},{FIXED}{high}]"
