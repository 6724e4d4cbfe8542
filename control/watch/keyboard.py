"""Keys of a terminal, each at once and without an echo; the terminal is left as it was found."""

import os
import re
import select
import termios
import tty
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

#: What arrows and function keys send: ESC and more, among which may be a letter that is a key of ours.
_SEQUENCE = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|O.|.)?", re.DOTALL)

#: Waits for so many seconds at most, and gives what was pressed by then.
Read = Callable[[float], str]


@contextmanager
def keyboard(terminal: int) -> Iterator[Read]:
    """Read keys from a terminal, a file descriptor, for as long as the body runs.

    Ctrl-C and Ctrl-Z stay what they are. Reading raises EOFError once the terminal is gone.
    """
    before = termios.tcgetattr(terminal)
    # TCSAFLUSH would throw away what was typed ahead, TCSADRAIN wait for a terminal that is held by Ctrl-S.
    tty.setcbreak(terminal, termios.TCSANOW)
    try:
        yield lambda seconds: _read(terminal, seconds)
    finally:
        with suppress(termios.error):  # it is gone
            termios.tcsetattr(terminal, termios.TCSANOW, before)


def _read(terminal: int, seconds: float) -> str:
    readable, _, _ = select.select([terminal], [], [], seconds)
    if not readable:
        return ""
    try:
        pressed = os.read(terminal, 256)
    except OSError:  # a terminal that was hung up
        pressed = b""
    if not pressed:
        raise EOFError
    return pressed_in(pressed.decode(errors="replace"))


def pressed_in(text: str) -> str:
    """The keys in what a terminal sent, without arrows and function keys."""
    return _SEQUENCE.sub("", text)
