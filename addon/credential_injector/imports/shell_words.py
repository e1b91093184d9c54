"""A command line as people copy it -> its words, as a shell would make them. Pure.

Nothing is run: what only the shell knows (`$NAME`, `$(command)`) becomes a variable, `{{NAME}}`.
"""

import re

_NAMED = {"n": "\n", "t": "\t", "r": "\r"}
_VARIABLE = re.compile(r"\$(?:\{(\w+)[^}]{0,200}\}|([A-Za-z_]\w*)|\(([^)]{0,500})\))")
_PLAIN = re.compile(r"[^\s'\"\\$`|&;<>()]+")
_ENDS = "|&;<>()"


def words(text: str) -> list[str]:
    """The words of the first command. Raises ValueError where a quote is not closed."""
    if '^"' in text:  # from Windows' cmd, where browsers put a ^ before each quote and each line's end
        text = re.sub(r"\^(\s*\n|.)", lambda match: " " if match[1].isspace() else match[1], text)
    text = re.sub(r"[\\`][^\S\n]*\n", " ", text)  # a ` where PowerShell goes on
    found: list[str] = []
    word: list[str] | None = None
    position = 0
    while position < len(text):
        start = text[position]
        if start.isspace() or start in _ENDS:
            if word is not None:
                found.append("".join(word))
            word = None
            if found and (start == "\n" or start in _ENDS):
                return found
            position += 1
            continue
        piece, position = _piece(text, position)
        word = word or []
        word.append(piece)
    return found if word is None else [*found, "".join(word)]


def _piece(text: str, position: int) -> tuple[str, int]:
    """What begins here, as the program would get it, and where it ends."""
    start = text[position]
    if start == "'":
        end = text.find("'", position + 1)
        if end < 0:
            raise ValueError("a quote is not closed")
        return text[position + 1 : end], end + 1
    if start == '"':
        return _double_quoted(text, position + 1)
    if text.startswith("$'", position):
        match = re.compile(r"\$'((?:[^'\\]|\\.)*)'", re.DOTALL).match(text, position)
        if match is None:
            raise ValueError("a quote is not closed")
        return _unescaped(match[1]), match.end()
    if start == "\\":
        return text[position + 1 : position + 2], position + 2
    if variable := _VARIABLE.match(text, position):
        return _named(variable), variable.end()
    plain = _PLAIN.match(text, position)
    return (plain[0], plain.end()) if plain else (start, position + 1)


def _double_quoted(text: str, position: int) -> tuple[str, int]:
    pieces: list[str] = []
    while position < len(text):
        one = text[position]
        if one == '"':
            return "".join(pieces), position + 1
        if one == "\\" and text[position + 1 : position + 2] in ("\\", '"', "$", "`"):
            one = text[position + 1]
            position += 1
        elif variable := _VARIABLE.match(text, position):
            pieces.append(_named(variable))
            position = variable.end()
            continue
        pieces.append(one)
        position += 1
    raise ValueError("a quote is not closed")


def _named(variable: re.Match[str]) -> str:
    name = variable[1] or variable[2]
    return f"{{{{{name}}}}}" if name else "{{a-command's-output}}"


def _unescaped(text: str) -> str:
    """What stands between $' and ', where browsers write what is no plain text."""

    def one(match: re.Match[str]) -> str:
        if match[1]:
            return chr(int(match[1][1:], 16))
        return _NAMED.get(match[2], match[2])

    return re.sub(r"\\(?:(u[0-9a-fA-F]{4}|x[0-9a-fA-F]{2})|(.))", one, text, flags=re.DOTALL)
