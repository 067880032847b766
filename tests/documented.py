"""What the pages show: their fenced blocks, and the commands in them."""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path

from tests.places import REPOSITORY

SHELL = ("sh", "bash")
"""A block in one of these is commands; `text` is what they print, others are no shell's."""


@dataclass(frozen=True)
class Block:
    """A fenced block of a page."""

    page: str
    line: int
    language: str
    text: str


@dataclass(frozen=True)
class Command:
    """A command of a block, its placeholders as they stand there."""

    page: str
    line: int
    words: tuple[str, ...]

    @property
    def is_ours(self) -> bool:
        """Whether it is given to the command line of this project."""
        return self.words[0] == "bench"

    def __str__(self) -> str:
        return f"{self.page}:{self.line} {shlex.join(self.words)}"


def pages() -> list[Path]:
    """Return README and its like, and all that docs/ is built of."""
    docs = REPOSITORY / "docs"
    found = [path for path in docs.rglob("*.md") if "_build" not in path.parts]
    return [REPOSITORY / f"{name}.md" for name in ("README", "CONTRIBUTING", "ARCHITECTURE")] + sorted(found)


def blocks(path: Path) -> list[Block]:
    """Return the fenced blocks of a page; directives, whose braces Sphinx reads, are none."""
    found: list[Block] = []
    opened: tuple[int, str] | None = None
    lines = path.read_text(encoding="utf-8").splitlines()
    for number, line in enumerate(lines, start=1):
        fence = re.fullmatch(r"```(\S*).*", line)
        if fence and opened is None:
            opened = (number, fence[1])
        elif fence and opened is not None:
            start, language = opened
            text = "\n".join(lines[start : number - 1])
            if not language.startswith("{"):
                found.append(Block(str(path.relative_to(REPOSITORY)), start + 1, language, text))
            opened = None
    assert opened is None, f"{path}: a block is not closed"
    return found


def commands(block: Block) -> list[Command]:
    """Return the commands of a block: of workflows what they run, of a script the lines that are ours."""
    found = []
    logical = block.text.replace("\\\n", " " * 2)
    for offset, line in enumerate(logical.splitlines()):
        if block.language == "yaml":
            run = re.match(r"\s*- run: (.+)", line)
            line = run[1] if run else ""
        for part in re.split(r"\s&&\s", line):
            words = list(takewhile(lambda word: word != ">", shlex.split(part, comments=True)))
            if words[:3] == ["python", "-m", "bench"]:
                words = words[2:]
            if words and (block.language in SHELL[:1] or words[0] == "bench"):
                found.append(Command(block.page, block.line + offset, tuple(words)))
    return found


def documented() -> list[Command]:
    """Return every command of every page."""
    return [
        command
        for path in pages()
        for block in blocks(path)
        if block.language in (*SHELL, "yaml")
        for command in commands(block)
    ]
