"""RTF files, read as a word processor shows them."""

from __future__ import annotations

from pathlib import Path

from tests.document_files import lines_of, read_parsed, skip_reason


def make_rtf(path: Path, body: str, *, page: int = 1252, fonts: str = r"{\f0 Arial;}") -> Path:
    path.write_bytes(rf"{{\rtf1\ansi\ansicpg{page}\deff0{{\fonttbl{fonts}}}{body}}}".encode("latin-1"))
    return path


def test_letters_are_decoded_by_code_page_font_and_unicode(tmp_path):
    fonts = r"{\f0\fcharset0 Arial;}{\f1\fcharset238 Arial CE;}{\f2\fcharset128 MS Mincho{\*\falt x};}{\f3\fcharset2 Symbol;}"
    body = (
        r"\'cf\'f0\'e8\'e2\'e5\'f2 \u1084?\'e8\'f0\par {\f1 \'9a}{\f2\'82\'a0\uc2\u12356\'82\'a2}{\f3 a}\par"
        r" \uc1\u8217?s\~\emdash\u-10179?\u-8704?\u233\'e9x"
    )
    parsed = read_parsed(make_rtf(tmp_path / "x.rtf", body, page=1251, fonts=fonts))
    assert lines_of(parsed) == ["Привет мир", "šあいα", "’s —😀éx"]


def test_pictures_and_what_is_no_text_stay_out(tmp_path):
    body = (
        r"{\info{\title The Weir}{\author Ann}}{\stylesheet{\s1 heading 1;}{\*\cs2 Strong;}}"
        r"\pard\s1 Heading\par\pard Text {\pict\pngblip 89504e47}{\*\generator Word;}goes on{\pict\bin4 }{}{}"
        r"{\field{\*\fldinst HYPERLINK x}{\fldrslt  here}}.\par"
    )
    parsed = read_parsed(make_rtf(tmp_path / "x.rtf", body))
    assert lines_of(parsed) == ["# Heading", "Text goes on here."]
    assert parsed["title"] == "The Weir"


def test_tables_are_put_on_one_grid(tmp_path):
    def row(cells: list[str], formats: str) -> str:
        return r"\trowd" + formats + r"\pard\intbl " + "".join(rf"{cell}\cell " for cell in cells) + r"\row"

    three = r"\cellx1000\cellx2000\cellx3000"
    body = (
        row(["Depot", "Tram", "Seats"], three)
        + row(["North", "12", "48"], r"\clvmgf\cellx1000\cellx2000\cellx3000")
        + row(["", "15", "52"], r"\clvmrg\cellx1005\cellx2000\cellx3000")
        + row(["Both", "100"], r"\cellx1995\cellx3000")
        + row(["Wide", "", "7"], r"\clmgf\cellx1000\clmrg\cellx2000\cellx3000")
        + r"\pard After.\par"
    )
    parsed = read_parsed(make_rtf(tmp_path / "x.rtf", body))
    written = [line for line in lines_of(parsed) if line[0] == "|"]
    assert {line.count("|") for line in written} == {4}
    assert [line.split("|")[-2].strip() for line in written] == ["Seats", "---", "48", "52", "100", "7"]
    assert lines_of(parsed)[-1] == "After."


def test_numbers_notes_boxes_and_headers_are_kept(tmp_path):
    body = (
        r"{\header\pard Order No. 88/4\tab Page {\field{\*\fldinst PAGE}{\fldrslt 3}}\par}"
        r"{\listtext 2.1\tab}The lessor{\super\chftn}{\footnote\pard\chftn The note.}.\par"
        r"{\pntext\'b7\tab}A bullet.\par\pard 10{\super 5} m{\shp{\*\shpinst{\sp{\sn x}{\sv 1}}{\shptxt In the box.\par}}{\shprslt In the box.}}\par"
    )
    parsed = read_parsed(make_rtf(tmp_path / "x.rtf", body))
    assert lines_of(parsed) == [
        "Order No. 88/4",
        "2.1 The lessor[1].",
        "- A bullet.",
        "10^5 m",
        "In the box.",
        "[1] The note.",
    ]
    assert parsed["left_out"] == {"running heads and page numbers": 5}


def test_hidden_and_deleted_text_and_comments_are_counted(tmp_path):
    body = r"Seen{\v abc}{\deleted gone}{\*\atnid AA}{\*\annotation remark}, {\revised shown}.\v\v0\par"
    parsed = read_parsed(make_rtf(tmp_path / "x.rtf", body))
    assert parsed["text"] == "Seen, shown."
    assert parsed["left_out"] == {"hidden text": 3, "deleted text": 4, "comments": 6}


def test_hostile_files_are_refused(tmp_path):
    assert "nested too deeply" in skip_reason(tmp_path, "deep.rtf", rb"{\rtf1 " + b"{" * 100_000)
    assert "broken" in skip_reason(tmp_path, "wrong.rtf", b"%PDF-1.4 no")
    assert "no text" in skip_reason(tmp_path, "empty.rtf", rb"{\rtf1\bin999999999 x}")
