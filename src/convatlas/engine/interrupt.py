"""Interrupts (Ctrl-C and SIGTERM), turned into a wish to stop that the loop grants after the step it is in."""

import signal
import threading
from types import FrameType
from typing import Any, Self


class Interrupt:
    """A signal handler: the first SIGINT or SIGTERM sets `asked`, a second SIGINT raises KeyboardInterrupt.

    On leaving, the handlers that were there before are back. Outside the main thread, where Python allows no handlers,
    it does nothing.
    """

    def __init__(self) -> None:
        self.asked = False
        self._previous: dict[signal.Signals, Any] = {}

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self._previous[number] = signal.signal(number, self._handle)
        return self

    def __exit__(self, kind: object, value: object, trace: object) -> None:
        for number, handler in self._previous.items():
            # None: the handler was not set from Python
            signal.signal(number, signal.SIG_DFL if handler is None else handler)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self.asked and number == signal.SIGINT:
            raise KeyboardInterrupt
        self.asked = True
