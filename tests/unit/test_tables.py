"""Text for a terminal: harmless, aligned, and never wider than it."""

import re
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exabgp_bfd.tables import Cell, Column, Screen, columns_of, cut, safe, table

STYLE = re.compile(r"\x1b\[[0-9;]*m")
COLUMNS = (Column("NAME", elastic=True), Column("N", right=True), Column("WHY", elastic=True))


@pytest.mark.parametrize(
    "text",
    [
        "\x1b[2J",
        "\x1b]0;owned\x07",
        "a\rb",
        "a\nb",
        "\x7f",
        "\x9b31m",
        "\u202egnp.exe",
        "a\u200bb",
        "\ud800",
        "\x00",
        "\u2028",
        "\ue000",
        "\xa0",
    ],
)
def test_what_steers_a_terminal_or_hides_is_shown_as_an_escape(text):
    shown = safe(text)
    assert shown.isprintable()
    assert "\\" in shown
    assert eval(f"'{shown}'") == text


def test_what_people_write_stays_as_it_is():
    for text in ("edge1/xe-0/0/1", "Zürich", "東京", "naïve — “quoted”", ""):
        assert safe(text) == text


@pytest.mark.parametrize(
    ("text", "columns"), [("abc", 3), ("東京", 4), ("ü", 1), ("u\u0308", 1), ("\uff21", 2), ("👍", 2), ("", 0)]
)
def test_columns_of_a_terminal(text, columns):
    assert columns_of(text) == columns


def test_cut_leaves_room_for_the_mark_and_splits_no_wide_character():
    assert cut("abcdef", 6) == "abcdef"
    assert cut("abcdef", 5) == "abcd…"
    assert cut("東京都", 5) == "東京…"
    assert cut("東京都", 4) == "東…"
    assert cut("abc", 2, "...") == ".."
    assert cut("abc", 0) == ""
    assert cut("abc", None) == "abc"


def test_a_table_lines_up():
    rows = [["edge1", "1", "it is well"], [Cell("東京", "bad"), "12", ""], ["x", "3", "y"]]
    assert list(table(COLUMNS, rows, Screen())) == [
        "NAME    N  WHY",
        "edge1   1  it is well",
        "東京   12",
        "x       3  y",
    ]
    assert list(table(COLUMNS, [], Screen())) == []


def test_a_column_that_says_nothing_is_left_out():
    assert list(table(COLUMNS, [["a", "", "b"]], Screen())) == ["NAME  WHY", "a     b"]


def test_the_widest_elastic_column_gives_way_and_others_stay():
    rows = [["edge1", "123456", "a long story that does not fit"]]
    assert list(table(COLUMNS, rows, Screen(width=30))) == [
        "NAME        N  WHY",
        "edge1  123456  a long story t…",
    ]


def test_colours_only_where_they_are_understood_and_never_in_the_widths():
    rows = [[Cell("edge1", "bad"), "1", Cell("no", "good")]]
    coloured = list(table(COLUMNS, rows, Screen(colour=True)))
    assert coloured[1] == "\x1b[31;1medge1\x1b[0m  1  \x1b[32mno\x1b[0m"
    assert [STYLE.sub("", line) for line in coloured] == list(table(COLUMNS, rows, Screen()))


def test_what_the_encoding_lacks_is_an_escape():
    here = Screen(width=8, encoding="ascii")
    assert here.line("Zürich") == "Z\\xfc..."
    assert all(line.isascii() for line in table(COLUMNS, [["東京", "1", "ü" * 40]], here))


TEXT = st.text(st.characters(), max_size=30)


@given(
    rows=st.lists(st.tuples(TEXT, TEXT, TEXT), max_size=4),
    width=st.one_of(st.none(), st.integers(1, 60)),
    encoding=st.sampled_from(["utf-8", "ascii", "latin-1"]),
    colour=st.booleans(),
)
def test_no_line_is_wider_than_the_terminal_and_none_steers_it(rows, width, encoding, colour):
    here = Screen(width, colour, encoding)
    for line in table(COLUMNS, [[Cell(a, "bad"), b, c] for a, b, c in rows], here):
        plain = STYLE.sub("", line)
        assert plain.isprintable()
        line.encode(encoding)
        assert width is None or columns_of(plain) <= width
        assert colour or plain == line


@given(TEXT, st.integers(0, 40))
def test_a_line_alone_fits_too(text, width):
    line = Screen(width).line(text)
    assert line.isprintable()
    assert columns_of(line) <= width
    assert not any(unicodedata.category(char).startswith("C") for char in line)
