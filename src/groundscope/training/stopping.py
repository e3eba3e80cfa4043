"""Ctrl-C and SIGTERM while a run trains: they wait until it stands where it can be taken up again."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

SIGNALS = (signal.SIGINT, signal.SIGTERM)


@dataclass
class Stop:
    """Whether this process was asked to stop."""

    signal: int | None = None

    @property
    def asked(self) -> bool:
        """True once a signal came."""
        return self.signal is not None


@contextmanager
def deferred_stop() -> Iterator[Stop]:
    """Hold back the first Ctrl-C or SIGTERM until the block ends; then it has the effect that it would have had.

    The block looks at the `Stop` and leaves early. A second signal is not held back. Signals that are ignored stay
    ignored; outside the main thread, where Python delivers none, nothing is changed.
    """
    stop = Stop()
    main = threading.current_thread() is threading.main_thread()
    before = {number: signal.getsignal(number) for number in SIGNALS if main}
    before = {number: effect for number, effect in before.items() if effect not in (None, signal.SIG_IGN)}

    def hold(number: int, frame: object) -> None:
        if stop.asked:
            stop.signal = None
            usual_effects()
            signal.raise_signal(number)
        else:
            stop.signal = number

    def usual_effects() -> None:
        for number, effect in before.items():
            signal.signal(number, effect)

    for number in before:
        signal.signal(number, hold)
    try:
        yield stop
    finally:
        usual_effects()
        if stop.signal is not None:
            signal.raise_signal(stop.signal)
