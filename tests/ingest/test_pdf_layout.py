"""The text of a PDF is read in the order in which a person reads it, and all that is left out is counted."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Iterable
from itertools import zip_longest
from pathlib import Path

import pytest

from tests.document_files import assemble_pdf
from tools.raft.ingest.formats.parsed import Parsed, count_characters
from tools.raft.ingest.formats.pdf.document import read_pdf

BOARD = (
    "The harbour board was founded in 1822 by nine captains who could not agree on the price of a berth. Its "
    "first chairman kept the book for forty years and never once signed it. The board later bought the old "
    "granary and turned it into an office with a view of both basins, which it has kept ever since. The tide "
    "gauge in the cellar has been read every hour since then, by day and also by night."
)
FERRY = (
    "The ferry to the island has run since 1888 with only two breaks, one in a hard winter when the sound froze "
    "over, and one in a spring when there was no coal left for the boiler. The first ferry was a barge with a "
    "sail that carried nine people and one cow. It was replaced by a steamer that was in service for sixty "
    "years, and today the crossing takes eleven minutes."
)
CRANE = (
    "The crane on the east quay lifts four tonnes, and it was bought second hand from another yard. Since then "
    "it has been painted three times, first in grey, then in green, and at last in the blue of the town. The "
    "driver needs a licence, which is given for five years at a time."
)


def text(x: float, y: float, words: str, *, size: float = 11, font: str = "F1", angle: float = 0) -> str:
    """Return the code that paints words, turned to the left by an angle in degrees."""
    cos, sin = math.cos(math.radians(angle)), math.sin(math.radians(angle))
    code = words.encode("cp1252").hex()
    return f"BT /{font} {size} Tf {cos:.4f} {sin:.4f} {-sin:.4f} {cos:.4f} {x} {y} Tm <{code}> Tj ET\n"


def block(x: float, y: float, lines: Iterable[str], *, step: float = 14, **style: float) -> str:
    return "".join(text(x, y - step * index, line, **style) for index, line in enumerate(lines))


def by_rows(*columns: tuple[float, str, int], y: float = 740) -> str:
    """Return the code of columns of text (x, text, characters in a line), painted line by line across the page."""
    wrapped = [[(x, line) for line in textwrap.wrap(words, width)] for x, words, width in columns]
    return "".join(
        text(*cell[:1], y - 14 * row, cell[1], size=9)
        for row, cells in enumerate(zip_longest(*wrapped))
        for cell in cells
        if cell
    )


def raised(x: float, y: float, *parts: str, rise: float = 4) -> str:
    """Return the code of a line in which every second part is small and raised (or lowered)."""
    code = f"BT 1 0 0 1 {x} {y} Tm "
    for index, part in enumerate(parts):
        size, height = (7, rise) if index % 2 else (11, 0)
        code += f"/F1 {size} Tf {height} Ts <{part.encode('cp1252').hex()}> Tj "
    return code + "ET\n"


def read(path: Path, *pages: str, rotate: int = 0) -> Parsed:
    """Read a PDF of these pages, of which every character is accounted for."""
    resources = "/Resources << /Font << /F1 3 0 R /F2 4 0 R >> >>"
    objects = [
        "<< /Type /Catalog /Pages 2 0 R >>",
        f"<< /Type /Pages /Kids [{' '.join(f'{5 + 2 * n} 0 R' for n in range(len(pages)))}] /Count {len(pages)} >>",
        "<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica /Encoding /WinAnsiEncoding >>",
        "<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica-Bold /Encoding /WinAnsiEncoding >>",
    ]
    for number, code in enumerate(pages):
        box = f"/MediaBox [0 0 595 842] /Rotate {rotate}"
        objects.append(f"<< /Type /Page /Parent 2 0 R {box} {resources} /Contents {6 + 2 * number} 0 R >>")
        objects.append(f"<< /Length {len(code)} >>\nstream\n{code}\nendstream")
    (path / "a.pdf").write_bytes(assemble_pdf([item.encode() for item in objects], b""))
    parsed = read_pdf(str(path / "a.pdf"))
    assert parsed["seen"] == count_characters(parsed["text"]) + sum(parsed["left_out"].values())
    return parsed


def read_hebrew(path: Path, placed: list[tuple[float, float, str]]) -> str:
    """Read a page of Hebrew, which is painted from its last letter to its first."""
    letters = sorted({letter for _, _, words in placed for letter in words})
    codes = {letter: 32 + index for index, letter in enumerate(letters)}
    characters = "\n".join(f"<{code:02x}> <{ord(letter):04x}>" for letter, code in codes.items())
    cmap = (
        "begincmap 1 begincodespacerange <00> <ff> endcodespacerange"
        f" {len(codes)} beginbfchar {characters} endbfchar endcmap"
    )
    code = "".join(
        f"BT /F1 11 Tf 1 0 0 1 {right - 5.5 * len(words)} {y} Tm"
        f" <{bytes(codes[letter] for letter in reversed(words)).hex()}> Tj ET\n"
        for right, y, words in placed
    )
    objects = [
        "<< /Type /Catalog /Pages 2 0 R >>",
        "<< /Type /Pages /Kids [3 0 R] /Count 1 >>",
        "<< /Type /Page /Parent 2 0 R /MediaBox [0 0 595 842] /Resources << /Font << /F1 4 0 R >> >>"
        " /Contents 6 0 R >>",
        "<< /Type /Font /Subtype /Type1 /BaseFont /Courier /FirstChar 32 /LastChar 99"
        f" /Widths [{'500 ' * 68}] /ToUnicode 5 0 R >>",
        f"<< /Length {len(cmap)} >>\nstream\n{cmap}\nendstream",
        f"<< /Length {len(code)} >>\nstream\n{code}\nendstream",
    ]
    (path / "a.pdf").write_bytes(assemble_pdf([item.encode() for item in objects], b""))
    return read_pdf(str(path / "a.pdf"))["text"]


# --- Columns -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "columns",
    [
        [(50, BOARD, 48), (310, FERRY, 48)],
        [(50, BOARD, 30), (220, FERRY, 30), (390, CRANE, 30)],
        [(50, BOARD, 66), (390, FERRY, 32)],
        [(50, BOARD, 48), (310, FERRY[:90], 48)],  # the second column is two lines long
    ],
)
def test_columns_painted_line_by_line_are_read_one_after_the_other(tmp_path, columns):
    found = read(tmp_path, by_rows(*columns))["text"]
    assert [" ".join(column.split()) for column in found.split("\n\n")] == [words for _, words, _ in columns]


def test_columns_with_lines_at_different_heights_are_read_one_after_the_other(tmp_path):
    left, right = textwrap.wrap(BOARD, 48), textwrap.wrap(FERRY, 48)
    code = "".join(
        text(50, 740 - 14 * row, a, size=9) + text(310, 735 - 14 * row, b, size=9)
        for row, (a, b) in enumerate(zip_longest(left, right, fillvalue=" "))
    )
    assert read(tmp_path, code)["text"] == f"{BOARD}\n\n{FERRY}"


def test_the_right_column_comes_second_even_if_it_is_painted_first(tmp_path):
    code = by_rows((310, FERRY, 48)) + by_rows((50, BOARD, 48))
    assert read(tmp_path, code)["text"] == f"{BOARD}\n\n{FERRY}"


def test_text_across_the_page_stands_before_between_and_after_its_columns(tmp_path):
    code = (
        block(50, 800, textwrap.wrap(CRANE, 95), size=10)
        + by_rows((50, BOARD, 48), (310, FERRY, 48), y=740)
        + text(50, 590, "A headline that goes across both columns of the page", size=16, font="F2")
        + by_rows((50, FERRY, 48), (310, BOARD, 48), y=560)
        + block(50, 400, textwrap.wrap(CRANE, 95), size=10)
    )
    headline = "# A headline that goes across both columns of the page"
    assert read(tmp_path, code)["text"].split("\n\n") == [CRANE, BOARD, FERRY, headline, FERRY, BOARD, CRANE]


def test_a_sentence_goes_on_in_the_next_column_with_a_capital_letter(tmp_path):
    german = (
        "Das Hafenamt wurde im Jahr 1822 von neun Kapitänen gegründet, die sich über den Preis eines Platzes "
        "nicht einig wurden, und kaufte später den alten Speicher am Rand des Hafens mit dem Blick auf die "
        "beiden Becken, in denen jedes"
    )
    follows = "Jahr Schiffe aus allen Ländern des Nordens liegen und auf das Ende der dunklen Zeit warten."
    code = by_rows((50, german, 48), (310, follows, 48))
    assert read(tmp_path, code)["text"] == f"{german} {follows}"


def test_columns_of_hebrew_are_read_from_the_right(tmp_path):
    first = [
        "הסכר הישן נבנה בשנת אלף תשע מאות",
        "ושתיים על ידי תשעה קברניטים שלא",
        "יכלו להסכים על מחיר המעגן",
    ]
    second = [
        "המעבורת יוצאת בכל בוקר מן הרציף",
        "הצפוני ונוסעים בה ארבעים איש",
        "ושישה זוגות אופניים בכל יום",
    ]
    rows = enumerate(zip(first, second, strict=True))
    placed = [
        (x, 700 - 14 * row, line) for row, pair in rows for x, line in zip((540, 280), pair, strict=True)
    ]
    assert read_hebrew(tmp_path, placed) == f"{' '.join(first)}\n\n{' '.join(second)}"


@pytest.mark.parametrize(
    "rows",
    [
        [
            ("Coffee with hot milk and cane sugar from the isles", "3.50"),
            ("Tea from the hills of the north", "2.80"),
        ]
        * 3,
        [
            ("Northgate", "Tramcar twelve, repaired after the fire in the depot"),
            ("Southgate", "Rail bus, in service"),
        ]
        * 3,
        [("The lamp on the mole", "is lit at dusk by the keeper"), ("The bell of the pier", "is rung in fog")]
        * 3,
    ],
)
def test_a_table_is_read_row_by_row(tmp_path, rows):
    code = "".join(
        text(50, 740 - 16 * row, left) + text(340, 740 - 16 * row, right)
        for row, (left, right) in enumerate(rows)
    )
    found = " ".join(read(tmp_path, code)["text"].replace("|", " ").split())
    for left, right in rows:
        assert f"{left} {right}" in found


def test_a_table_with_text_in_its_cells_is_read_row_by_row(tmp_path):
    risks = [words + "." for words in FERRY.split(". ")[:3]]
    measures = [words + "." for words in BOARD.split(". ")[:3]]
    code, y = "", 740.0
    for risk, measure in zip(risks, measures, strict=True):
        code += by_rows((50, risk, 40), (310, measure, 40), y=y)
        y -= 14 * max(len(textwrap.wrap(words, 40)) for words in (risk, measure)) + 12
    found = " ".join(read(tmp_path, code)["text"].replace("|", " ").split())
    positions = [found.index(words[:30]) for pair in zip(risks, measures, strict=True) for words in pair]
    assert positions == sorted(positions)


def test_a_box_beside_the_text_interrupts_no_sentence(tmp_path):
    lines = textwrap.wrap(BOARD + " " + FERRY, 66)
    box = {3: "Opening hours", 4: "Monday 9 to 5", 5: "Sunday closed"}
    code = "".join(
        text(50, 740 - 14 * row, line, size=9)
        + (text(430, 740 - 14 * row, box[row], size=9) if row in box else "")
        for row, line in enumerate(lines)
    )
    found = read(tmp_path, code)["text"]
    assert BOARD + " " + FERRY in found
    assert "Opening hours\nMonday 9 to 5\nSunday closed" in found


# --- Running heads and page numbers ------------------------------------------------------------------


def body(number: int, *, y: float = 760, lines: int = 3) -> str:
    """Return the code of a paragraph of its own for a page."""
    words = f"Sheet {'abcdefghijklm'[number]} begins here. {BOARD[number * 11 :]}"
    return block(60, y, textwrap.wrap(words, 80)[:lines])


@pytest.mark.parametrize(
    ("heads", "style"),
    [
        ([f"Rule {n}" for n in range(1, 5)], {"size": 16, "font": "F2"}),
        ([f"Rule {n}" for n in range(1, 5)], {}),
        ([f"Part no. {n}" for n in (4711, 4712, 4820, 4901)], {}),
        (["12", "31", "9", "310"], {"size": 40}),
        ([f"The year {n}" for n in (1950, 1957, 1964, 1971)], {}),
        ([f"Invoice {n} of 4 May" for n in (101, 102, 103, 104)], {}),
    ],
)
def test_lines_that_differ_in_a_number_are_no_running_heads(tmp_path, heads, style):
    pages = [text(60, 800, head, **style) + body(number, y=720) for number, head in enumerate(heads)]
    parsed = read(tmp_path, *pages)
    assert not parsed["left_out"]
    for head in heads:
        assert head in parsed["text"]


@pytest.mark.parametrize(
    "head",
    [
        lambda n: text(60, 815, "The ferries of the sound", size=9),
        lambda n: text(60, 815, "The ferries", size=9) + text(520, 815, str(n + 101), size=9),
        lambda n: text(60, 30, f"Report of the board | {n}"),
        lambda n: text(60, 30, f"Report of the board, page {n}"),
        lambda n: text(290, 30, f"- {n} -"),
        lambda n: text(290, 30, str(n + 40)),
        lambda n: text(290, 30, ("i", "ii", "iii", "iv", "v")[n - 1]),
        lambda n: text(290, 30, f"Seite {n} von 5"),
        lambda n: text(290, 30, f"{n}/5"),
    ],
)
def test_running_heads_and_page_numbers_are_left_out_and_counted(tmp_path, head):
    parsed = read(tmp_path, *(body(number) + head(number) for number in range(1, 6)))
    plain = read(tmp_path, *(body(number) for number in range(1, 6)))
    assert parsed["text"] == plain["text"]
    assert parsed["left_out"] == {"running heads and page numbers": parsed["seen"] - plain["seen"]}


def test_heads_that_alternate_and_heads_of_one_chapter_are_left_out(tmp_path):
    pages = [
        body(number)
        + text(60, 815, "Left page" if number % 2 else "Right page", size=8)
        + (text(60, 30, "Chapter of the tides", size=8) if 4 <= number <= 7 else "")
        for number in range(1, 13)
    ]
    found = read(tmp_path, *pages)["text"]
    for head in ("Left page", "Right page", "Chapter of"):
        assert head not in found


def test_a_number_at_the_foot_that_is_none_of_a_page_is_kept(tmp_path):
    pages = [body(number) + text(290, 60, str(total)) for number, total in enumerate((318, 27, 1450))]
    assert not read(tmp_path, *pages)["left_out"]


def test_a_text_that_several_forms_begin_with_is_kept(tmp_path):
    pages = [
        block(60, 800, [*textwrap.wrap(CRANE, 80), f"Signed by member {name}"])
        for name in ("Ada", "Bo", "Cy")
    ]
    assert read(tmp_path, *pages)["text"].count(CRANE) == 3


# --- Margins -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("x", "step", "first"), [(40, 1, 1), (40, 5, 1), (545, 5, 1), (40, 1, 118), (545, 1, 1)]
)
@pytest.mark.parametrize("with_line", [True, False])
def test_line_numbers_in_a_margin_are_left_out_and_counted(tmp_path, x, step, first, with_line):
    words = f"{BOARD} {FERRY} {CRANE}"
    lines = [text(70, 780 - 16 * row, line) for row, line in enumerate(textwrap.wrap(words, 72))]
    numbers = [
        text(x, 780 - 16 * row, str(first + row), size=9) if (first + row) % step == 0 else ""
        for row in range(len(lines))
    ]
    if with_line:
        code = "".join(n + line if x < 70 else line + n for n, line in zip(numbers, lines, strict=True))
    else:
        code = "".join(numbers + lines)
    parsed = read(tmp_path, code)
    assert parsed["text"] == words
    assert list(parsed["left_out"]) == ["line numbers"]


def test_every_fifth_line_of_a_poem_may_have_a_number(tmp_path):
    verses = ["The heron stands upon the stone", "And waits until the night is gone"] * 8
    code = "".join(
        text(60, 780 - 14 * row, verse) + (text(320, 780 - 14 * row, str(row + 1)) if row % 5 == 4 else "")
        for row, verse in enumerate(verses)
    )
    assert read(tmp_path, code)["text"] == "\n".join(verses)


@pytest.mark.parametrize("amount", ["", "30"])
def test_the_numbers_of_a_list_and_of_a_table_are_kept(tmp_path, amount):
    items = [
        "Open the valve of the boiler",
        "Light the lamp on the mole",
        "Ring the bell twice",
        "Close the gate",
    ] * 2
    code = "".join(
        text(60, 780 - 16 * row, str(row + 1))
        + text(85, 780 - 16 * row, item)
        + text(400, 780 - 16 * row, amount)
        for row, item in enumerate(items)
    )
    assert not read(tmp_path, code)["left_out"]


def test_a_stamp_in_the_margin_interrupts_no_sentence(tmp_path):
    lines = textwrap.wrap(BOARD, 80)
    stamp = text(30, 300, "arXiv:2031.01234v1 [cs.CL] 4 May 2031", size=16, angle=90)
    parsed = read(tmp_path, block(80, 780, lines[:2]) + stamp + block(80, 752, lines[2:]))
    assert parsed["text"] == BOARD
    assert parsed["left_out"] == {"turned text in the margin": 28}


@pytest.mark.parametrize(
    ("angle", "x", "y", "right", "down"),
    [(90, 80, 60, 14, 0), (270, 500, 800, -14, 0), (180, 540, 60, 0, 14)],
)
def test_a_page_of_turned_text_is_read_as_if_upright(tmp_path, angle, x, y, right, down):
    lines = ["The crane", *textwrap.wrap(BOARD, 70)]
    code = "".join(
        text(
            x + right * (row + (row > 0)),
            y + down * (row + (row > 0)),
            line,
            size=11 if row else 18,
            angle=angle,
        )
        for row, line in enumerate(lines)
    )
    assert read(tmp_path, code)["text"] == f"# The crane\n\n{BOARD}"


def test_a_page_shown_turned_keeps_its_order(tmp_path):
    code = text(80, 60, "The crane", size=18, angle=90) + "".join(
        text(110 + 14 * row, 60, line, angle=90) for row, line in enumerate(textwrap.wrap(BOARD, 70))
    )
    assert read(tmp_path, code, rotate=90)["text"] == f"# The crane\n\n{BOARD}"


def test_the_rows_of_a_turned_table_stay_together(tmp_path):
    rows = [
        ("Depot", "Vehicle", "Built"),
        ("Northgate", "Tramcar 12", "1961"),
        ("Southgate", "Rail bus", "1988"),
    ]
    table = "".join(
        text(200 + 20 * row, 100 + 130 * column, cell, angle=90)
        for row, cells in enumerate(rows)
        for column, cell in enumerate(cells)
    )
    found = read(tmp_path, block(60, 780, textwrap.wrap(BOARD, 80)) + table)["text"]
    assert found.startswith(BOARD)
    for cells in rows:
        assert " ".join(cells) in " ".join(found.replace("|", " ").split())


def test_a_watermark_on_every_page_is_left_out(tmp_path):
    pages = [body(number) + text(150, 300, "DRAFT", size=60, angle=45) for number in range(3)]
    assert read(tmp_path, *pages)["left_out"] == {"watermarks": 15}


# --- Initials, footnotes, raised digits --------------------------------------------------------------


@pytest.mark.parametrize(
    ("initial", "words", "begin"),
    [
        ("T", "he ferry runs to the isle since the bridge was lost, and it", "The ferry"),
        ("I", "N those days the ferry ran to the isle in every night", "IN those"),
        ("A", "ferry has run to the isle since the bridge was lost; a ferry", "A ferry"),
    ],
)
@pytest.mark.parametrize("painted_first", [True, False])
def test_a_large_initial_belongs_to_its_word(tmp_path, initial, words, begin, painted_first):
    large = text(60, 752, initial, size=44)
    lines = block(
        96 if initial != "I" else 80,
        780,
        [words, "has never stopped but once, when the ferry was caught in ice"],
    )
    rest = block(60, 752, ["for a whole winter with all the people in it, who ate what they had."])
    found = read(tmp_path, large + lines + rest if painted_first else lines + rest + large)["text"]
    assert found.startswith(begin)
    assert "#" not in found


def test_a_large_letter_beside_a_word_of_its_own_is_no_part_of_it(tmp_path):
    code = text(60, 766, "B", size=30) + block(
        90, 780, ["Bollards stand on every quay, and ships are made", "fast to them."]
    )
    assert "B Bollards stand" in read(tmp_path, code + block(60, 700, textwrap.wrap(BOARD, 80)))["text"]


@pytest.mark.parametrize(
    "label",
    [
        text(60, 120, "1 The book lies in the loft.", size=8),
        raised(60, 120, "", "1", "The book lies in the loft."),
    ],
)
def test_a_footnote_follows_the_paragraph_that_it_would_interrupt(tmp_path, label):
    lines = textwrap.wrap(BOARD, 80)
    parsed = read(
        tmp_path, block(60, 780, lines[:2]) + label, block(60, 780, lines[2:]) + text(60, 650, "The end.")
    )
    assert parsed["text"] == f"{BOARD}\n\n1 The book lies in the loft.\n\nThe end."
    assert parsed["text"][parsed["page_starts"][1] :].startswith(lines[2])


def test_a_footnote_at_the_foot_of_a_column_follows_its_paragraph(tmp_path):
    lines = textwrap.wrap(BOARD, 45)
    code = (
        block(50, 240, lines[:4], size=10)
        + text(50, 160, "1 The book lies in the loft.", size=7)
        + block(310, 240, lines[4:], size=10)
        + text(310, 120, "2 It was burnt.", size=7)
    )
    assert read(tmp_path, code)["text"] == f"{BOARD}\n\n1 The book lies in the loft.\n\n2 It was burnt."


@pytest.mark.parametrize(
    ("parts", "expected"),
    [
        (("It holds 10", "5", " litres"), "holds 10^5 litres"),
        (("It is 3 x 10", "-4", " bar"), "x 10^-4 bar"),
        (("The hall has 250 m", "2", ", all told"), "250 m^2, all told"),
        (("It covers 40 km", "2", ". It is deep"), "40 km^2. It is deep"),
        (("where r", "2", " is the square"), "where r^2 is the square"),
        (("and (a + b)", "2", " is the sum"), "and (a + b)^2 is the sum"),
        (("the ions Ca", "2+", " and others"), "ions Ca^2+ and others"),
        (("on the 1", "st", " of May"), "the 1st of May"),
    ],
)
def test_raised_digits_of_powers_are_kept(tmp_path, parts, expected):
    parsed = read(tmp_path, raised(60, 780, *parts) + block(60, 740, textwrap.wrap(BOARD, 80)))
    assert expected in parsed["text"]
    assert not parsed["left_out"]


@pytest.mark.parametrize(
    ("parts", "expected", "count"),
    [
        (("It was closed by the board.", "12", " Nobody knows why"), "the board. Nobody knows why", 2),
        (("but the loft", "3", " is full"), "but the loft is full", 1),
        (("books, papers,", "4,5", " and maps"), "books, papers, and maps", 2),
        (("It was lost in 1984", "7", " and found"), "lost in 1984 and found", 1),
        (('the so-called "mole"', "8", " is a wall"), 'so-called "mole" is a wall', 1),
    ],
)
def test_raised_numbers_that_refer_to_notes_are_left_out_and_counted(tmp_path, parts, expected, count):
    parsed = read(tmp_path, raised(60, 780, *parts) + block(60, 740, textwrap.wrap(BOARD, 80)))
    assert expected in parsed["text"]
    assert parsed["left_out"] == {"reference marks": count}


def test_lowered_digits_are_kept(tmp_path):
    code = raised(60, 780, "The gases CO", "2", " and H", "2", "O are measured.", rise=-2)
    found = read(tmp_path, code + block(60, 740, textwrap.wrap(BOARD, 80)))["text"]
    assert "CO2 and H2O are measured." in found


# --- The samples -------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["bats.pdf", "espresso-machines.pdf"])
def test_nothing_of_the_samples_is_lost(name):
    parsed = read_pdf(str(Path(__file__).parents[2] / "data/documents" / name))
    assert parsed["seen"] == count_characters(parsed["text"]) + sum(parsed["left_out"].values())
    assert set(parsed["left_out"]) == {"running heads and page numbers"}
