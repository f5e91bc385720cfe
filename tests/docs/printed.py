"""Blocks of code in README and docs, as a reader copies them.

Twenty lines of our own: Sybil and pytest-examples run one block in one process as it stands, but a block here is many
commands, of which one may need a network and the next not.
`python tests/docs/printed.py` lists what is not run, with the reasons.
"""

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

HOUSE = Path(__file__).parents[2]
PAGES = [HOUSE / "README.md", HOUSE / "CONTRIBUTING.md", *sorted((HOUSE / "docs").rglob("*.md"))]
REASONS = re.compile(r"needs (a network|a GPU|several machines|a cluster|[\w.]+ installed)|takes (minutes|hours)"
                     r"|runs until it is stopped|installs a program|is run by CI|is the tests themselves"
                     r"|changes the repository")
MARKED = re.compile(r"<!-- not run(?:, `(?P<part>[^`]+)`)?: (?P<reason>[^>]+?) -->\n")
FENCED = re.compile(r"(?P<marks>(?:<!-- not run[^>]*-->\n)*)^```(?P<language>\w*)\n(?P<text>.*?)^```$",
                    re.DOTALL | re.MULTILINE)


@dataclass(frozen=True)
class Block:
    """Code between fences, and what a comment before it says is not run: part of a command → reason."""

    page: Path
    line: int
    language: str
    text: str
    marks: dict[str, str]

    def __str__(self) -> str:
        return f"{self.page.relative_to(HOUSE).as_posix()}:{self.line}"

    def commands(self) -> list[str]:
        """The commands of a shell block, without comments."""
        lines = self.text.replace("\\\n", " ").splitlines()
        words = (shlex.split(part, comments=True) for line in lines for part in line.split(" && "))
        return [shlex.join(each) for each in words if each]

    def reason(self, command: str = "") -> str:
        """Why it, or a command of it, is not run; empty where it is."""
        return next((why for part, why in self.marks.items() if part in command), "")


def blocks() -> Iterator[Block]:
    """Every block of every page."""
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        for found in FENCED.finditer(text):
            marks = {mark["part"] or "": mark["reason"] for mark in MARKED.finditer(found["marks"])}
            yield Block(page, text.count("\n", 0, found.start("language")) + 1, found["language"], found["text"], marks)


def done(*words: object) -> None:
    """A command of ours in this process, which must succeed."""
    from convatlas.cli import main  # here: who lists what is not run needs no more than Python

    assert main([str(word) for word in words]) == 0, words


if __name__ == "__main__":
    for block in blocks():
        for part, reason in block.marks.items():
            print(f"{block}: {part or 'all of it'}: {reason}")
