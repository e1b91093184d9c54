"""A text as a QR code, for a terminal and for a page. Pure."""

from itertools import zip_longest
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import segno

_BORDER = 4  # light modules around it, which a camera needs to find it
_BLACK_ON_WHITE, _RESET = "\x1b[38;5;16;48;5;231m", "\x1b[0m"
"""Of the 256 colours, as no terminal's theme changes these two."""
_HALVES = {(0, 0): " ", (1, 0): "▀", (0, 1): "▄", (1, 1): "█"}


def terminal(text: str) -> str:
    """Two rows of it in a line, black on white, whichever colours the terminal has."""
    rows = [[int(module) for module in row] for row in _code(text).matrix_iter(border=_BORDER)]
    pairs = zip_longest(rows[::2], rows[1::2], fillvalue=[0] * len(rows[0]))
    lines = ("".join(_HALVES[upper, lower] for upper, lower in zip(*pair, strict=True)) for pair in pairs)
    return "".join(f"{_BLACK_ON_WHITE}{line}{_RESET}\n" for line in lines)


def svg(text: str) -> str:
    """An element of a page, black on white."""
    return _code(text).svg_inline(scale=5, border=_BORDER, dark="#000", light="#fff", omitsize=False)


def _code(text: str) -> "segno.QRCode":
    # Late: only a phone needs it, and every start would pay.
    import segno

    return segno.make_qr(text, error="l", boost_error=False)  # a screen is clean, and a terminal small
