"""Bruno's .bru text -> its blocks. Pure."""

import re

Block = dict[str, str]

_BEGIN = re.compile(r"([a-z][\w:-]*)\s*([{\[])\s*")
_MOST_LINES = 100_000


def read_bru(text: str) -> dict[str, Block]:
    """Blocks of `key: value` lines, by name. Those that hold text, such as a script, are left out. Raises ValueError.

    A list, as `vars:secret [a, b]`, is a block whose values are empty.
    """
    blocks: dict[str, Block] = {}
    name, kind, lines = "", "", list[str]()
    for number, line in enumerate(text.split("\n"), start=1):
        if number > _MOST_LINES:
            raise ValueError(f"line {number}: has more lines than a file of Bruno's; expected one")
        if not name:
            begun = _BEGIN.fullmatch(line.strip()) or _BEGIN.match(line.strip())
            if begun is None:
                if line.strip():
                    raise ValueError(f"line {number}: begins no block; expected such as auth {{")
                continue
            name, kind, lines = begun[1], begun[2], []
            rest = line.strip()[begun.end() :]
            if rest.endswith("]" if kind == "[" else "}"):
                blocks[name], name = _block([rest[:-1]], kind), ""
        elif line.rstrip() == ("]" if kind == "[" else "}"):
            blocks[name], name = _block(lines, kind), ""
        else:
            lines.append(line)
    if name:
        raise ValueError(f"line {text.count(chr(10)) + 1}: ends within the block {name}; is the file complete?")
    return blocks


def _block(lines: list[str], kind: str) -> Block:
    block: Block = {}
    text = ""
    """Of the key whose value has several lines; empty: none has."""
    for line in lines:
        if text:
            text = "" if line.strip().endswith("'''") else text
            continue
        if kind == "[":
            block |= {item.strip(): "" for item in line.split(",") if item.strip()}
            continue
        key, colon, value = line.strip().partition(":")
        if colon and not key.startswith("~"):  # a tilde switches a line off
            name, content = key.strip().strip('"'), value.strip()
            if content.startswith("'''"):
                # Not read: no setting of an auth has several lines. Its lines must not become keys.
                text, content = name, ""
            block[name] = content
    return block
