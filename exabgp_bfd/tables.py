"""Text for a terminal: what others wrote made harmless, columns that line up, and lines no longer than it is wide.

Pure: documents come in as text, lines go out; what the terminal is like is told by a `Screen`.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

_STYLES: Final = {"good": "32", "bad": "31;1", "warning": "33", "title": "1", "quiet": "2"}
_GAP: Final = "  "
_LEAST: Final = 8
"""Columns that are cut keep so many characters, or those of their title."""


@dataclass(frozen=True, slots=True)
class Screen:
    """Where lines go: `width` in columns (None: not cut), whether colours are understood, and which characters are."""

    width: int | None = None
    colour: bool = False
    encoding: str = "utf-8"

    @property
    def more(self) -> str:
        """What stands where text was cut."""
        return "…" if self.writable("…") == "…" else "..."

    def writable(self, text: str) -> str:
        """The text with what the encoding lacks written as escapes."""
        return text.encode(self.encoding, "backslashreplace").decode(self.encoding)

    def styled(self, text: str, style: str) -> str:
        """The text in one of the styles `good`, `bad`, `warning`, `title`, `quiet`; the empty one is none."""
        return f"\x1b[{_STYLES[style]}m{text}\x1b[0m" if self.colour and style and text else text

    def fit(self, text: str, width: int | None = None) -> str:
        """The text, harmless and cut to `width` or else to the terminal's."""
        return cut(self.writable(safe(text)), self.width if width is None else width, self.more)

    def line(self, text: str, style: str = "") -> str:
        """The text as a line of its own."""
        return self.styled(self.fit(text), style)


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a table; one that is `elastic` gives way where the terminal is too narrow."""

    title: str
    elastic: bool = False
    right: bool = False


@dataclass(frozen=True, slots=True)
class Cell:
    """A text, and how it looks."""

    text: str
    style: str = ""


def safe(text: str) -> str:
    """The text with everything that steers a terminal, or hides, as an escape: what others wrote is only shown."""
    return text if text.isprintable() else "".join(one if one.isprintable() else repr(one)[1:-1] for one in text)


def columns_of(text: str) -> int:
    """How many columns of a terminal the text takes."""
    return len(text) if text.isascii() else sum(map(_columns, text))


def _columns(char: str) -> int:
    if unicodedata.category(char) in {"Mn", "Me"}:
        return 0
    return 2 if unicodedata.east_asian_width(char) in {"W", "F"} else 1


def cut(text: str, width: int | None, more: str = "…") -> str:
    """The text if it takes no more than `width` columns, else as much of it as leaves room for `more`."""
    if width is None or columns_of(text) <= width:
        return text
    room = width - columns_of(more)
    if room < 0:
        return "." * max(0, width)
    kept = []
    for char in text:
        room -= _columns(char)
        if room < 0:
            break
        kept.append(char)
    return "".join(kept) + more


def table(columns: Sequence[Column], rows: Sequence[Sequence[Cell | str]], screen: Screen) -> Iterator[str]:
    """The titles and the rows as lines; none where there are no rows. A column that is empty throughout is left out."""
    if not rows:
        return
    cells = [[_cell(one, screen) for one in row] for row in rows]
    shown = [place for place, _ in enumerate(columns) if any(row[place].text for row in cells)]
    chosen = [columns[place] for place in shown]
    kept = [[row[place] for place in shown] for row in cells]
    widths = _widths(chosen, kept, screen.width)
    titles = [Cell(column.title, "title") for column in chosen]
    for row in [titles, *kept]:
        yield _line(chosen, row, widths, screen)


def _cell(value: Cell | str, screen: Screen) -> Cell:
    cell = value if isinstance(value, Cell) else Cell(value)
    return Cell(screen.writable(safe(cell.text)), cell.style)


def _widths(columns: Sequence[Column], rows: Sequence[Sequence[Cell]], most: int | None) -> list[int]:
    """How wide each column is: as it is by itself, where that fits; else the widest elastic ones give way first."""
    widths = [
        max([columns_of(column.title), *(columns_of(row[place].text) for row in rows)])
        for place, column in enumerate(columns)
    ]
    if most is None:
        return widths
    excess = sum(widths) + len(_GAP) * (len(widths) - 1) - most
    least = [max(_LEAST, columns_of(column.title)) for column in columns]
    while excess > 0:
        able = [place for place, column in enumerate(columns) if column.elastic and widths[place] > least[place]]
        if not able:
            break  # the line as a whole is cut
        widest = max(able, key=lambda place: widths[place])
        widths[widest] -= 1
        excess -= 1
    return widths


def _line(columns: Sequence[Column], row: Sequence[Cell], widths: Sequence[int], screen: Screen) -> str:
    """One row; its styles come last, so that nothing is cut in the middle of one."""
    pieces: list[tuple[str, str]] = []
    for place, (column, cell, width) in enumerate(zip(columns, row, widths, strict=True)):
        text = cut(cell.text, width, screen.more)
        blank = " " * (width - columns_of(text))
        gap = _GAP if place else ""
        last = place == len(columns) - 1
        pieces.append((gap + (blank if column.right else ""), ""))
        pieces.append((text, cell.style))
        if not column.right and not last:
            pieces.append((blank, ""))
    return _styled(_bounded(_stripped(pieces), screen), screen)


def _stripped(pieces: list[tuple[str, str]]) -> list[tuple[str, str]]:
    while pieces and not pieces[-1][0].strip():
        pieces.pop()
    return pieces


def _bounded(pieces: list[tuple[str, str]], screen: Screen) -> list[tuple[str, str]]:
    """The pieces, as far as the terminal is wide."""
    whole = "".join(text for text, _ in pieces)
    if screen.width is None or columns_of(whole) <= screen.width:
        return pieces
    left = cut(whole, screen.width, screen.more)
    bounded = []
    for text, style in pieces:
        part, left = left[: len(text)], left[len(text) :]
        bounded.append((part, style))
    return [*bounded, (left, "")]


def _styled(pieces: Sequence[tuple[str, str]], screen: Screen) -> str:
    return "".join(screen.styled(text, style) for text, style in pieces)
