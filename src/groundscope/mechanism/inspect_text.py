"""An inspection as plain text for a terminal."""

from collections.abc import Callable, Iterator
from itertools import zip_longest
from textwrap import wrap

from groundscope.mechanism.inspect import Inspection, Removal

HEADS_SHOWN = 10
_BAR = 24


def inspection_text(found: Inspection, token: Callable[[int], str], *, threshold: float) -> str:
    """Return the inspection for people; ``token`` shows an id, ``threshold`` is the criterion's."""
    return "\n".join([*_expectation(found, token), "", *_layers(found), "", *_heads(found, threshold)])


def _expectation(found: Inspection, token: Callable[[int], str]) -> Iterator[str]:
    wording = found.wording
    marked = [f"[{piece}]" if i in wording.ground else piece for i, piece in enumerate(wording.pieces)]
    yield f"prompt    {' '.join(marked)}"
    yield f"          {wording.convention}" + ("; [ground] in brackets" if wording.ground else "")
    target = "+".join(wording.target_pieces)
    yield f"target    {target}: {found.surprisal:.3f} nats, the model's choice number {found.rank}"
    if len(wording.target) > 1:
        count = len(wording.target)
        yield f"          sum over {count} pieces; all below is about the first ({found.first_piece:.3f} nats)"
    yield f"expected  {', '.join(f'{token(i)} {100 * p:.1f} %' for i, p in found.expected)}"


def _layers(found: Inspection) -> Iterator[str]:
    worst, most = max(found.by_layer), max([*(into for into in found.layer_flow if into is not None), 1e-12])
    heading = f"{'layers':<10}{f'surprisal ({found.lens} lens)':<36}"
    yield heading + "|saliency| ground -> last" if found.layer_flow else heading.rstrip()
    for state, (nats, into) in enumerate(zip_longest(found.by_layer, (None, *found.layer_flow))):
        name = "embedding" if state == 0 else f"L{state - 1}"
        line = f"{name:<10}{nats:>8.3f}  {_bar(nats, worst):<26}"
        yield (line if into is None else f"{line}{into:>9.3g}  {_bar(into, most)}").rstrip()


def _heads(found: Inspection, threshold: float) -> Iterator[str]:
    if found.no_heads:
        yield f"heads     none shown: {found.no_heads}"
        return
    role = f"role (share of its saliency >= {100 * threshold:.0f} %)"
    yield f"{'heads':<10}{'flow nats':>10}{'share':>8}{'without it':>12}  {role}"
    for head in found.heads[:HEADS_SHOWN]:
        roles = ", ".join(head.roles)
        yield f"{head.name:<10}{head.flow:>10.3g}{100 * head.share:>6.0f} %{head.effect:>+12.3f}  {roles}".rstrip()
    if len(found.heads) > HEADS_SHOWN:
        yield f"{'':<10}and {len(found.heads) - HEADS_SHOWN} more, with less flow"
    if found.beside:
        yield from wrap(found.beside, 108, initial_indent="beside    ", subsequent_indent=" " * 10)
    yield ""
    if not found.removals:
        yield "removal   no head has a role in this prompt"
    for removal in found.removals:
        yield from _removal(found, removal)


def _removal(found: Inspection, removal: Removal) -> Iterator[str]:
    names = ", ".join(removal.heads)
    yield f"removal   {len(removal.heads)} {removal.role} head{'s' if len(removal.heads) > 1 else ''}: {names}"
    low, high = removal.control_range
    change = "" if removal.changed else "  no effect: the logits did not change"
    yield f"          original {found.first_piece:.3f}   without {removal.without:.3f} nats{change}"
    draws = f"{removal.draws} draws of as many others, per layer while it has any: {low:.3f} to {high:.3f}"
    yield f"          control  {removal.control:.3f}   ({draws})"


def _bar(value: float, most: float) -> str:
    return "█" * round(_BAR * max(0.0, value) / most)
