"""What a PDF holds besides running text: tables, fields, comments, hidden text, nonsense, scans."""

from __future__ import annotations

import io
import sys
from pathlib import Path

import pypdfium2 as pdfium
import pytest

from tests.document_files import assemble_pdf
from tools.raft.ingest.formats.parsed import Parsed, Unreadable, count_characters
from tools.raft.ingest.formats.pdf.document import read_pdf
from tools.raft.ingest.formats.pdf.ocr import read_picture

PROSE = (
    "The harbour board of Quillmouth was founded in 1822 by nine captains, who could not agree on the price",
    "of a berth. It met each spring in the loft above the rope walk, and its minutes were kept by the eldest,",
    "who wrote a small and even hand that later clerks admired.",
)
FLEET = [
    ["Depot", "Vehicle", "Seats", "Built"],
    ["Northgate", "Tramcar 12", "48", "1961"],
    ["Northgate", "Tramcar 15", "52", "1964"],
    ["Southgate", "Rail bus", "30", "1988"],
]
PICTURE = "q 595 0 0 842 0 0 cm /Im Do Q"


def words(x: float, y: float, text: str, *, size: float = 10, font: str = "F1") -> str:
    escaped = text.replace("\\", r"\\").replace("(", r"\(").replace(")", r"\)")
    return f"BT /{font} {size} Tf {x} {y} Td ({escaped}) Tj ET\n"


def prose(y: float = 780, lines: tuple[str, ...] = PROSE) -> str:
    return "".join(words(60, y - 13 * index, line) for index, line in enumerate(lines))


def cells(rows: list[list[str]], *, y: float = 700, widths: tuple[int, ...] = (80, 80, 80, 80)) -> str:
    content = ""
    for row, texts in enumerate(rows):
        for column, text in enumerate(texts):
            if text:
                content += words(60 + sum(widths[:column]) + 3, y - 18 * row - 13, text)
    return content


def rules(lines: list[tuple[float, float, float, float]]) -> str:
    return "".join(f"{x0} {y0} m {x1} {y1} l S\n" for x0, y0, x1, y1 in lines)


def frame(rows: int, *, y: float = 700, widths: tuple[int, ...] = (80, 80, 80, 80)) -> str:
    bottom, right = y - 18 * rows, 60 + sum(widths)
    edges = [60 + sum(widths[:index]) for index in range(len(widths) + 1)]
    return rules(
        [(60, y - 18 * row, right, y - 18 * row) for row in range(rows + 1)]
        + [(x, y, x, bottom) for x in edges]
    )


def make(
    path: Path,
    pages: list[str],
    *objects: str,
    font: str = "",
    catalog: str = "",
    resources: str = "",
    page: str = "",
) -> Path:
    """Write a PDF of content streams. `objects` are numbered from 5 on; `font` is the number of font F2."""
    kids = [5 + len(objects) + 2 * index for index in range(len(pages))]
    picture = (
        "<< /Type /XObject /Subtype /Image /Width 1 /Height 1 /ColorSpace /DeviceGray /BitsPerComponent 8"
        " /Length 1 >>\nstream\n\x7f\nendstream"
    )
    body = [
        f"<< /Type /Catalog /Pages 2 0 R {catalog} >>",
        f"<< /Type /Pages /Kids [{' '.join(f'{kid} 0 R' for kid in kids)}] /Count {len(kids)} >>",
        "<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica /Encoding /WinAnsiEncoding >>",
        picture,
        *objects,
    ]
    fonts = "/F1 3 0 R" + (f" /F2 {font} 0 R" if font else "")
    for kid, content in zip(kids, pages, strict=True):
        body.append(
            f"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 595 842] /Contents {kid + 1} 0 R {page} /Resources"
            f" << /Font << {fonts} >> /XObject << /Im 4 0 R >> {resources} >> >>"
        )
        body.append(f"<< /Length {len(content)} >>\nstream\n{content}\nendstream")
    path.write_bytes(assemble_pdf([item.encode("latin-1") for item in body], b""))
    return path


def glyph_font(unicode_map: str = "") -> list[str]:
    """Return the objects, from 5 on, of a font by glyph numbers, with the lines of its map to characters."""
    cmap = (
        "/CIDInit /ProcSet findresource begin 12 dict begin begincmap /CMapName /M def /CMapType 2 def"
        f" 1 begincodespacerange <0000> <FFFF> endcodespacerange {unicode_map} endcmap end end"
    )
    return [
        "<< /Type /Font /Subtype /Type0 /BaseFont /AAAAAA+Odd /Encoding /Identity-H /DescendantFonts [6 0 R]"
        " /ToUnicode 7 0 R >>",
        "<< /Type /Font /Subtype /CIDFontType2 /BaseFont /AAAAAA+Odd /DW 500 /FontDescriptor 8 0 R"
        " /CIDSystemInfo << /Registry (Adobe) /Ordering (Identity) /Supplement 0 >> >>",
        f"<< /Length {len(cmap)} >>\nstream\n{cmap}\nendstream",
        "<< /Type /FontDescriptor /FontName /AAAAAA+Odd /Flags 4 /FontBBox [0 -200 1000 900] /ItalicAngle 0"
        " /Ascent 880 /Descent -120 /CapHeight 700 /StemV 80 >>",
    ]


def glyphs(x: float, y: float, text: str) -> str:
    """Paint text by the numbers that its glyphs have in most fonts: 3 for the blank, 36 for A."""
    return f"BT /F2 10 Tf {x} {y} Td <{''.join(f'{ord(char) - 29:04x}' for char in text)}> Tj ET\n"


def glyph_prose(y: float = 600) -> str:
    return "".join(glyphs(60, y - 13 * index, line) for index, line in enumerate(PROSE))


def read(path: Path, **options) -> Parsed:
    """Return what is read of a file of which nothing is lost without a reason."""
    parsed = read_pdf(str(path), **options)
    assert parsed["seen"] <= count_characters(parsed["text"]) + sum(parsed["left_out"].values())
    return parsed


def text_of(path: Path) -> str:
    return read(path)["text"]


def refusal(path: Path) -> str:
    with pytest.raises(Unreadable) as caught:
        read_pdf(str(path))
    return str(caught.value)


# --- tables


TABLE = (
    "| Depot | Vehicle | Seats | Built |\n| --- | --- | --- | --- |\n| Northgate | Tramcar 12 | 48 | 1961 |\n"
    "| Northgate | Tramcar 15 | 52 | 1964 |\n| Southgate | Rail bus | 30 | 1988 |"
)


@pytest.mark.parametrize(
    "lines",
    [
        pytest.param("", id="no lines"),
        pytest.param(frame(4), id="frame"),
        pytest.param(rules([(60, y, 380, y) for y in (700, 682, 628)]), id="three lines across"),
        pytest.param(
            rules([(60, y, 380, y) for y in (682, 664, 646)] + [(x, 700, x, 628) for x in (140, 220, 300)]),
            id="inner lines",
        ),
        pytest.param(
            "".join(
                f"0.9 g {60 + 80 * x} {682 - 18 * y} 79 17 re f 0 g\n" for x in range(4) for y in range(4)
            ),
            id="shaded cells",
        ),
        pytest.param(
            rules([(60, 700, 380, 700), (60, 628, 380, 628), (60, 700, 60, 628), (380, 700, 380, 628)])
            + rules([(60, 682, 380, 682), (140, 700, 140, 682), (220, 700, 220, 682)]),
            id="ruled head",
        ),
    ],
)
def test_rows_and_cells_of_a_table_stay_apart(tmp_path, lines):
    path = make(tmp_path / "a.pdf", [prose() + lines + cells(FLEET) + prose(600)])
    before, table, after = text_of(path).split("\n\n")
    assert table == TABLE
    assert before == after == " ".join(PROSE)


def test_a_merged_cell_moves_no_value_below_another_head(tmp_path):
    lines = [(60, y, 300, y) for y in (700, 682, 664, 628, 610)] + [(140, 646, 300, 646)]
    lines += [(x, 700, x, 610) for x in (60, 300)] + [(x, 682, x, 610) for x in (140, 220)]
    content = words(70, 687, "Vehicles of 2031") + words(63, 651, "Northgate")
    content += cells(
        [["Depot", "Vehicle", "Seats"], ["", "Tramcar 12", "48"], ["", "Tramcar 15", "52"]], y=682
    )
    content += cells([["Southgate", "Rail bus", "30"]], y=628)
    text = text_of(make(tmp_path / "a.pdf", [prose() + rules(lines) + content]))
    assert "Vehicles of 2031\n\n| Depot | Vehicle | Seats |" in text
    assert (
        "| Northgate | Tramcar 12 | 48 |\n| Northgate | Tramcar 15 | 52 |\n| Southgate | Rail bus | 30 |"
        in text
    )


def test_lines_below_each_other_in_ruled_cells_are_rows_unless_text_wraps(tmp_path):
    rows = [["Year", "Boats"], ["1961", "12"], ["1962", "15"], ["1963", "9"]]
    lines = [(60, y, 220, y) for y in (700, 682, 628)] + [(x, 700, x, 628) for x in (60, 140, 220)]
    text = text_of(make(tmp_path / "a.pdf", [prose() + rules(lines) + cells(rows)]))
    assert "| Year | Boats |\n| --- | --- |\n| 1961 | 12 |\n| 1962 | 15 |\n| 1963 | 9 |" in text
    rows = [["Part", "Use"], ["A long iron bar", "Keeps the door"], ["with two rings", "shut at night"]]
    lines = [(60, y, 220, y) for y in (700, 682, 646)] + [(x, 700, x, 646) for x in (60, 140, 220)]
    text = text_of(make(tmp_path / "a.pdf", [prose() + rules(lines) + cells(rows)]))
    assert "| A long iron bar with two rings | Keeps the door shut at night |" in text


def test_wrapped_cells_and_empty_cells_of_a_table_without_lines(tmp_path):
    rows = [
        ["Part", "What it does", "Price"],
        ["Winch", "Lifts the anchor", "12.50"],
        ["", "from the bed", ""],
    ]
    rows += [["Lamp", "Shows the pier", ""], ["", "at night", ""], ["Rope", "Ties a boat", "1.10"]]
    content = "".join(
        words(60 + 90 * column, 700 - 13 * row, text)
        for row, texts in enumerate(rows)
        for column, text in enumerate(texts)
        if text
    )
    text = text_of(make(tmp_path / "a.pdf", [prose() + content]))
    assert "| Winch | Lifts the anchor from the bed | 12.50 |\n| Lamp | Shows the pier at night |  |" in text


def test_a_table_that_goes_on_over_the_page_says_again_what_its_columns_are(tmp_path):
    rows = [["Lamp", "Pier", "Watts"]] + [[f"Lamp {n}", f"Pier {n % 7}", f"{3 * n}"] for n in range(1, 60)]
    pages = [prose() + cells(rows[:36]) + frame(36, widths=(80, 80, 80))]
    pages += [cells(rows[36:], y=800) + frame(24, y=800, widths=(80, 80, 80))]
    text = text_of(make(tmp_path / "a.pdf", pages))
    assert "| Lamp | Pier | Watts |\n| --- | --- | --- |\n| Lamp 36 | Pier 1 | 108 |" in text


def test_bars_in_cells_make_no_columns(tmp_path):
    path = make(
        tmp_path / "a.pdf",
        [prose() + frame(2, widths=(80, 80)) + cells([["Sign", "Use"], ["ls | wc", "count"]])],
    )
    assert "| ls \\| wc | count |" in text_of(path)


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(cells([["1.", "Apples"], ["2.", "Pears"], ["3.", "Plums"]], widths=(25, 80)), id="list"),
        pytest.param(
            "".join(
                words(x, 700 - 13 * index, part)
                for index, line in enumerate(PROSE * 3)
                for x, part in ((60, line[:36]), (320, line[-36:]))
            ),
            id="two columns",
        ),
        pytest.param("50 640 500 90 re S\n" + prose(715), id="box"),
        pytest.param(rules([(60, 690, 300, 690), (60, 690, 60, 600)]) + prose(550), id="axes"),
    ],
)
def test_text_that_is_no_table_stays_text(tmp_path, content):
    assert "|" not in text_of(make(tmp_path / "a.pdf", [prose() + content]))


def test_a_table_on_a_turned_page(tmp_path):
    content = "q 0 1 -1 0 595 0 cm\n" + cells(FLEET, y=500) + frame(4, y=500) + "Q\n"
    path = make(tmp_path / "a.pdf", [content], page="/Rotate 90")
    assert text_of(path) == TABLE


def test_lines_of_a_table_of_contents_stay_apart(tmp_path):
    entries = [
        (f"{number} {name} {'.' * 60}", page) for number, name, page in ((1, "Tides", 3), (2, "Ropes", 10))
    ]
    content = "".join(
        words(60, 700 - 14 * row, title) + words(400, 700 - 14 * row, str(page))
        for row, (title, page) in enumerate(entries)
    )
    assert text_of(make(tmp_path / "a.pdf", [prose() + content])).endswith("1 Tides … 3\n2 Ropes … 10")


# --- characters without meaning


@pytest.mark.parametrize(
    "unicode_map",
    [
        pytest.param("", id="no map"),
        pytest.param("1 beginbfrange <0000> <00ff> <E000> endbfrange", id="private characters"),
        pytest.param("1 beginbfrange <0000> <00ff> [" + "<0041>" * 256 + "] endbfrange", id="all one letter"),
        pytest.param("1 beginbfrange <0000> <00ff> [" + "<0001>" * 256 + "] endbfrange", id="control codes"),
        pytest.param("1 beginbfrange <0000> <00ff> [" + "<FFFD>" * 256 + "] endbfrange", id="replacements"),
        pytest.param("1 beginbfrange <0003> <00ff> <0023> endbfrange", id="shifted by three"),
    ],
)
def test_a_font_without_meaning_is_no_text_and_ocr_is_named(tmp_path, unicode_map):
    alone = make(tmp_path / "a.pdf", [glyph_prose()], *glyph_font(unicode_map), font="5")
    assert "fonts do not say" in refusal(alone) and "--ocr" in refusal(alone)
    path = make(tmp_path / "b.pdf", [prose(), glyph_prose()], *glyph_font(unicode_map), font="5")
    result = read(path)
    assert result["text"] == " ".join(PROSE)
    assert result["left_out"]["characters without meaning"] > 150
    (note,) = result["notes"]
    assert "page 2" in note and "--ocr" in note


def test_names_of_glyphs_that_say_nothing_are_no_text(tmp_path):
    letters = sorted(set("".join(PROSE)))
    names = " ".join(f"/g{index}" for index in range(len(letters)))
    font = (
        f"<< /Type /Font /Subtype /Type1 /BaseFont /AAAAAA+Odd /Encoding << /Differences [33 {names}] >> >>"
    )
    content = "".join(
        f"BT /F2 10 Tf 60 {600 - 13 * row} Td <{''.join(f'{33 + letters.index(char):02x}' for char in line)}> Tj ET\n"
        for row, line in enumerate(PROSE)
    )
    assert "fonts do not say" in refusal(make(tmp_path / "a.pdf", [content], font, font="5"))


def test_a_font_whose_codes_are_the_characters_is_read_without_a_map(tmp_path):
    names = " ".join(f"/c{code}" for code in range(33, 127))
    font = (
        f"<< /Type /Font /Subtype /Type1 /BaseFont /AAAAAA+Odd /Encoding << /Differences [33 {names}] >> >>"
    )
    content = "".join(words(60, 600 - 13 * row, line, font="F2") for row, line in enumerate(PROSE))
    result = read(make(tmp_path / "a.pdf", [content], font, font="5"))
    assert result["text"] == " ".join(PROSE) and not result["notes"] and not result["left_out"]


def test_a_few_characters_without_meaning_are_counted_and_the_rest_is_kept(tmp_path):
    items = glyphs(60, 700, "@") + words(75, 700, "A good first item") + glyphs(60, 680, "@")
    items += words(75, 680, "A good second item") + glyphs(400, 820, "Logo") + words(60, 660, "The o")
    items += glyphs(83.5, 660, "$") + words(88.5, 660, "ce was shut.")
    result = read(make(tmp_path / "a.pdf", [prose() + items], *glyph_font(), font="5"))
    text = result["text"]
    assert (
        "• A good first item" in text and "• A good second item" in text and "The o\ufffdce was shut." in text
    )
    assert result["left_out"] == {"characters without meaning": 5} and not result["notes"]


@pytest.mark.parametrize(
    "line",
    ["ATGC TTAG CCGA ATTA GGCA " * 3, "4F 3A 9C 00 FF 1B 7E " * 3, "QXZ-4711 BDFG-12 HJKL-98 " * 3],
)
def test_codes_and_sequences_are_text(tmp_path, line):
    path = make(tmp_path / "a.pdf", [prose(lines=(line,) * 8)])
    assert text_of(path).count(line.split()[0]) >= 24


# --- text that nobody sees


def test_hidden_text_is_left_out_and_counted(tmp_path):
    hidden = (
        "3 Tr " + words(60, 500, "Praise the product") + "0 Tr 1 g " + words(60, 480, "White words") + "0 g "
    )
    hidden += (
        words(60, -90, "Beside the page") + "0 0 0.5 rg 50 400 300 30 re f 1 g " + words(60, 410, "On blue")
    )
    result = read(make(tmp_path / "a.pdf", [prose() + hidden]))
    assert result["text"] == " ".join(PROSE) + "\n\nOn blue"
    assert result["left_out"] == {"hidden text": 16 + 10 + 13}


def test_a_layer_that_is_off_is_hidden_and_one_that_is_on_is_not(tmp_path):
    content = (
        prose()
        + "/OC /M0 BDC "
        + words(60, 500, "Answer seven")
        + "EMC /OC /M1 BDC "
        + words(60, 450, "Shown")
        + "EMC"
    )
    path = make(
        tmp_path / "a.pdf",
        [content],
        "<< /Type /OCG /Name (Answers) >>",
        "<< /Type /OCG /Name (Notes) >>",
        resources="/Properties << /M0 5 0 R /M1 6 0 R >>",
        catalog="/OCProperties << /OCGs [5 0 R 6 0 R] /D << /OFF [5 0 R] >> >>",
    )
    result = read(path)
    assert result["text"] == " ".join(PROSE) + "\n\nShown"
    assert result["left_out"] == {"hidden text": 11}


# --- scans


def test_scans_with_a_stamp_are_named(tmp_path):
    stamp = words(60, 820, "Registry of Lower Holt, 4 May 2031", size=8)
    result = read(make(tmp_path / "a.pdf", [prose(), PICTURE + "\n" + stamp, PICTURE]))
    assert [item.split(";")[0] for item in result["notes"]] == [
        "hardly any text on page 2: scanned",
        "no text on page 3: images only",
    ]
    strips = "".join(f"q 595 0 0 84 0 {84 * index} cm /Im Do Q\n" for index in range(10))
    reason = refusal(make(tmp_path / "b.pdf", [strips + stamp] * 3))
    assert "3 of 3 pages are images" in reason and "--ocr" in reason


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(f"{PICTURE}\n" + words(60, 400, "Costs of the harbour", size=28), id="slide"),
        pytest.param(f"{PICTURE}\n3 Tr\n" + prose(), id="scan with recognised text"),
        pytest.param(f"{PICTURE}\n3 Tr\n" + words(60, 400, "Chapter two"), id="short page of such a scan"),
        pytest.param(
            "q 300 0 0 300 60 500 cm /Im Do Q\n" + words(60, 480, "The crane on the east quay", size=9),
            id="caption",
        ),
    ],
)
def test_pages_with_a_picture_and_text_are_no_scans(tmp_path, content):
    result = read(make(tmp_path / "a.pdf", [content]))
    assert result["text"]
    assert not result["notes"] and not result["left_out"]


# --- fields, comments, attachments


def widget(kind: str, rect: str, more: str) -> str:
    return f"<< /Type /Annot /Subtype /Widget /FT /{kind} /Rect [{rect}] /F 4 /DA (/F1 10 Tf 0 g) {more} >>"


def make_form(path: Path, content: str, *annotations: str, **options: str) -> Path:
    fields = " ".join(f"{5 + index} 0 R" for index in range(len(annotations)))
    form = f"/AcroForm << /Fields [{fields}] /DR << /Font << /F1 3 0 R >> >> /NeedAppearances true >>"
    return make(path, [content], *annotations, catalog=form, page=f"/Annots [{fields}]", **options)


def test_values_of_fields_stand_after_their_labels(tmp_path):
    content = prose() + words(60, 700, "Name:") + words(60, 670, "Town:") + words(85, 640, "Member")
    content += words(185, 640, "Guest") + words(60, 610, "Remarks:")
    path = make_form(
        tmp_path / "a.pdf",
        content,
        widget("Tx", "130 695 280 713", "/T (n) /V (Ada Lovelace)"),
        widget(
            "Ch", "130 665 280 683", "/T (t) /V (q) /Ff 131072 /Opt [[(q) (Quillmouth)] [(h) (Lower Holt)]]"
        ),
        widget("Btn", "68 637 80 649", "/T (m) /V /Yes /AS /Yes /AP << /N << /Yes 4 0 R >> >>"),
        widget("Btn", "168 637 180 649", "/T (g) /AS /Off /AP << /N << /Yes 4 0 R >> >>"),
        widget("Tx", "60 500 500 600", r"/T (r) /Ff 4096 /V (A first remark.\nA second one.)"),
        widget("Tx", "60 460 200 480", "/T (p) /Ff 8192 /V (topsecret)"),
    )
    result = read(path)
    text = result["text"]
    assert "Name: Ada Lovelace\n" in text and "Town: Quillmouth\n" in text
    assert "☒ Member ☐ Guest" in text
    assert text.index("Remarks:") < text.index("A first remark.") < text.index("A second one.")
    assert "topsecret" not in text and result["left_out"] == {"hidden text": 9}


def test_a_value_that_the_page_paints_already_stands_there_once(tmp_path):
    content = words(60, 700, "Name:") + words(132, 700, "Ada Lovelace")
    path = make_form(tmp_path / "a.pdf", content, widget("Tx", "130 695 280 713", "/T (n) /V (Ada Lovelace)"))
    assert text_of(path).count("Ada Lovelace") == 1


def test_typed_notes_are_text_and_comments_are_counted(tmp_path):
    path = make_form(
        tmp_path / "a.pdf",
        prose(),
        "<< /Type /Annot /Subtype /FreeText /Contents (Typed here) /Rect [60 600 200 620] /F 4 >>",
        "<< /Type /Annot /Subtype /Text /Contents (Really?) /Rect [300 700 320 720] /F 4 >>",
        "<< /Type /Annot /Subtype /Popup /Contents (Really?) /Rect [320 700 420 720] /F 4 >>",
        "<< /Type /Annot /Subtype /FreeText /Contents (Not shown) /Rect [60 500 200 520] /F 2 >>",
    )
    result = read(path)
    assert result["text"] == " ".join(PROSE) + "\n\nTyped here"
    assert result["left_out"] == {"comments": 6, "hidden text": 8}


WAIT = (
    "Please wait...",
    "If this message is not eventually replaced with the proper contents of the document, your PDF",
    "viewer may not be able to display this type of document. You can upgrade to the latest version of",
    "Adobe Reader by visiting http://www.adobe.com/go/reader_download.",
)


def test_an_xfa_form_says_what_to_do(tmp_path):
    xfa = "/AcroForm << /Fields [] /XFA 5 0 R >> /NeedsRendering true"
    packet = "<< /Length 11 >>\nstream\n<xdp></xdp>\nendstream"
    assert "print it as a PDF" in refusal(make(tmp_path / "a.pdf", [prose(lines=WAIT)], packet, catalog=xfa))
    assert "print it as a PDF" in refusal(make(tmp_path / "b.pdf", [prose(lines=WAIT)]))
    assert text_of(make(tmp_path / "c.pdf", [prose()], packet, catalog=xfa)) == " ".join(PROSE)


def attachment(name: str) -> tuple[str, str]:
    """Return the objects of an attachment, and what the catalog says of it; its file is object 5."""
    file = f"<< /Type /Filespec /F ({name}) /UF ({name}) /EF << /F 6 0 R >> >>"
    return file, f"/Names << /EmbeddedFiles << /Names [({name}) 5 0 R] >> >>"


def test_attachments_are_named_and_a_portfolio_is_refused(tmp_path):
    file, catalog = attachment("prices.xlsx")
    content = "<< /Type /EmbeddedFile /Length 3 >>\nstream\nabc\nendstream"
    (note,) = read(make(tmp_path / "a.pdf", [prose()], file, content, catalog=catalog))["notes"]
    assert "1 attached" in note and "prices.xlsx" in note
    cover = ("For the best experience, open this PDF portfolio in", "Acrobat X or Adobe Reader X, or later.")
    path = make(
        tmp_path / "b.pdf", [prose(lines=cover)], file, content, catalog=catalog + " /Collection << >>"
    )
    assert "portfolio" in refusal(path) and "prices.xlsx" in refusal(path)


# --- text recognition


def scan(path: Path, content: str) -> bytes:
    """Write a PDF of the picture of a page at 150 dots per inch; return the picture as a PNG."""
    page = pdfium.PdfDocument(make(path.with_name("source.pdf"), [content]))[0]
    picture = page.render(scale=150 / 72, grayscale=True).to_pil()
    picture.save(path, resolution=150)
    png = io.BytesIO()
    picture.save(png, "PNG")
    return png.getvalue()


def test_scans_and_pictures_are_recognised(tmp_path):
    pytest.importorskip("tesserocr")
    content = prose() + prose(
        700, ("The crane was bought in the spring of the year 1931, be-", "cause the old one broke.")
    )
    picture = tmp_path / "scan.png"
    picture.write_bytes(scan(tmp_path / "scan.pdf", content))
    for parsed in (read_pdf(str(tmp_path / "scan.pdf"), ocr="eng"), read_picture(str(picture), ocr="eng")):
        assert "could not agree on the price of a berth. It met each spring in the loft" in parsed["text"]
        assert "1931, because the old one broke." in parsed["text"]
        assert parsed["page_starts"] == [0] and not parsed["notes"]


def test_a_language_that_is_not_installed_is_named(tmp_path):
    pytest.importorskip("tesserocr")
    scan(tmp_path / "scan.pdf", prose())
    with pytest.raises(Unreadable, match=r"no model of 'xyz'.*xyz\.traineddata"):
        read_pdf(str(tmp_path / "scan.pdf"), ocr="eng+xyz")


def test_without_recognition_it_is_said_how_to_get_it(tmp_path, monkeypatch):
    (tmp_path / "scan.png").write_bytes(scan(tmp_path / "scan.pdf", prose()))
    with pytest.raises(Unreadable, match="--ocr"):
        read_picture(str(tmp_path / "scan.png"))
    monkeypatch.setitem(sys.modules, "tesserocr", None)
    for reader, name in ((read_pdf, "scan.pdf"), (read_picture, "scan.png")):
        with pytest.raises(Unreadable, match=r"pip install -r requirements-ocr\.txt"):
            reader(str(tmp_path / name), ocr="deu")


def test_text_beside_scans_is_read_without_recognition_too(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "tesserocr", None)
    parsed = read_pdf(make(tmp_path / "a.pdf", [prose(), PICTURE]), ocr="deu+eng")
    assert "could not agree on the price of a berth" in parsed["text"]
    scanned, how = parsed["notes"]
    assert scanned.startswith("no text on page 2") and "pip install -r requirements-ocr.txt" in how
