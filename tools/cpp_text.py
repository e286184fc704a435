"""Reads C++ sources as tokens, for the scripts that look at messages. It knows literals and comments, no grammar."""
import re
from pathlib import Path
from typing import Iterator, NamedTuple

TOKEN = re.compile(
    r"""(?P<space>\s+)
    |(?P<comment>//[^\n]*|/\*.*?\*/)
    |(?P<include>^[ \t]*\#[ \t]*include[^\n]*)
    |(?P<raw>(?:u8|[uUL])?R"(?P<delimiter>[^\s()\\]{0,16})\((?P<raw_text>.*?)\)(?P=delimiter)")
    |(?P<string>(?:u8|[uUL])?"(?P<text>(?:\\.|[^"\\\n])*)")
    |(?P<char>(?:u8|[uUL])?'(?:\\.|[^'\\\n])+')
    |(?P<number>\.?\d(?:'?[\w.])*)
    |(?P<word>[A-Za-z_]\w*)
    |(?P<other>->|::|.)""",
    re.VERBOSE | re.DOTALL | re.MULTILINE,
)
ESCAPES = {"n": "\n", "t": "\t", "r": "\r", "0": "\0"}


class Token(NamedTuple):
    kind: str  # string, char, number, word, include or other
    text: str  # of a string: its contents, unescaped
    line: int


class Literal(NamedTuple):
    """Adjacent string literals, which the compiler joins."""

    text: str
    parts: list[tuple[int, int]]  # where each begins in text, and its line

    def line(self, offset: int = 0) -> int:
        return [line for begin, line in self.parts if begin <= offset][-1]


def tokens(source: str) -> Iterator[Token]:
    """Tokens without spaces and comments."""
    line = 1
    for match in TOKEN.finditer(source):
        kind, text = match.lastgroup, match.group()
        if match["raw_text"] is not None:
            kind, text = "string", match["raw_text"]
        elif match["text"] is not None:
            kind, text = "string", re.sub(r"\\(.)", lambda escape: ESCAPES.get(escape[1], escape[1]), match["text"])
        if kind not in ("space", "comment"):
            yield Token(kind, text, line)
        line += match.group().count("\n")


def joined(found: Iterator[Token]) -> Iterator[Token | Literal]:
    """The same with adjacent string literals as one Literal."""
    text, parts = "", []
    for token in found:
        if token.kind == "string":
            parts.append((len(text), token.line))
            text += token.text
            continue
        if parts:
            yield Literal(text, parts)
            text, parts = "", []
        yield token
    if parts:
        yield Literal(text, parts)


def sources(root: Path, folders: tuple[str, ...]) -> list[Path]:
    endings = {".h", ".hpp", ".cpp", ".cu", ".cuh"}
    return sorted(file for folder in folders for file in (root / folder).rglob("*") if file.suffix in endings and file.is_file())
