"""Reads QR codes as a phone's camera does: from pictures, by zbar."""

import re
import subprocess
from collections.abc import Iterable
from pathlib import Path

from tests.conftest import tool

_LINE = re.compile(r"^\x1b\[38;5;16;48;5;231m([ ▀▄█]+)\x1b\[0m$")  # black on white
_SCALE = 6  # pixels of a module


def read(picture: Path) -> list[str]:
    """What the codes in a picture hold."""
    program = tool("zbarimg", package="zbar-tools")
    words = [program, "--quiet", "--xml", "-Sdisable", "-Sqrcode.enable", str(picture)]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    return re.findall(r"<data[^>]*><!\[CDATA\[(.*?)\]\]></data>", done.stdout, re.DOTALL)


def read_terminal(lines: Iterable[str], folder: Path) -> list[str]:
    """What the codes in a terminal hold, from top to bottom."""
    blocks: list[list[str]] = [[]]
    for line in lines:
        match = _LINE.match(line)
        if match is not None:
            blocks[-1].append(match[1])
        elif blocks[-1]:
            blocks.append([])
    return [text for block in blocks if block for text in read(_picture(block, folder / "terminal.pgm"))]


def _picture(block: list[str], file: Path) -> Path:
    rows = [
        [0 if character in dark else 255 for character in line for _ in range(_SCALE)]
        for line in block
        for dark in ("▀█", "▄█")
        for _ in range(_SCALE)
    ]
    file.write_bytes(f"P5 {len(rows[0])} {len(rows)} 255\n".encode() + b"".join(map(bytes, rows)))
    return file
