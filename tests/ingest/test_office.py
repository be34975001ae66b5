"""Word documents, read as a user would see them."""

from __future__ import annotations

import contextlib
import signal
import sys
import threading
import time
import zipfile
from pathlib import Path

import pytest

from tests.document_files import lines_of, make_docx, paragraph, read_one, read_parsed, skip_reason
from tools.raft.ingest.formats import pandoc
from tools.raft.ingest.formats.parsed import Unreadable
from tools.raft.ingest.sandbox import Parser, _parse

_NAMESPACES = " ".join(
    f'xmlns:{prefix}="{uri}"'
    for prefix, uri in {
        "w": "http://schemas.openxmlformats.org/wordprocessingml/2006/main",
        "w14": "http://schemas.microsoft.com/office/word/2010/wordml",
        "r": "http://schemas.openxmlformats.org/officeDocument/2006/relationships",
        "m": "http://schemas.openxmlformats.org/officeDocument/2006/math",
        "a": "http://schemas.openxmlformats.org/drawingml/2006/main",
        "c": "http://schemas.openxmlformats.org/drawingml/2006/chart",
        "dgm": "http://schemas.openxmlformats.org/drawingml/2006/diagram",
        "wp": "http://schemas.openxmlformats.org/drawingml/2006/wordprocessingDrawing",
        "wps": "http://schemas.microsoft.com/office/word/2010/wordprocessingShape",
        "mc": "http://schemas.openxmlformats.org/markup-compatibility/2006",
        "v": "urn:schemas-microsoft-com:vml",
        "o": "urn:schemas-microsoft-com:office:office",
    }.items()
)
_RELATIONS = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
_STYLES = "".join(
    f'<w:style w:type="paragraph" w:styleId="{id}"><w:name w:val="{name}"/></w:style>'
    for id, name in {"berschrift1": "heading 1", "Titel": "Title", "Quote": "Quote"}.items()
)


def make_word(path: Path, body: str, *, strict: bool = False, **parts: str) -> Path:
    """Write a Word document; parts: the content of w:styles, w:numbering, w:header … by name, as "header1"."""
    roots = {"header": "hdr", "footer": "ftr"}
    xml = {"document": f"<w:document {_NAMESPACES}><w:body>{body}</w:body></w:document>"}
    rows = ""
    for name, content in {"styles": _STYLES, **parts}.items():
        kind = name.rstrip("0123456789")
        root = roots.get(kind, kind)
        xml[name] = (
            content if content.startswith("<?xml") else f"<w:{root} {_NAMESPACES}>{content}</w:{root}>"
        )
        rows += f'<Relationship Id="{name}" Type="{_RELATIONS}/{kind}" Target="{name}.xml"/>'
    package = '<Relationships xmlns="http://schemas.openxmlformats.org/package/2006/relationships">'
    files = {
        "[Content_Types].xml": '<Types xmlns="http://schemas.openxmlformats.org/package/2006/content-types"/>',
        "_rels/.rels": f'{package}<Relationship Id="r1" Type="{_RELATIONS}/officeDocument" Target="word/document.xml"/></Relationships>',
        "word/_rels/document.xml.rels": f"{package}{rows}</Relationships>",
        **{f"word/{name}.xml": content for name, content in xml.items()},
    }
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            if strict:
                for part in ("wordprocessingml", "officeDocument", "drawingml"):
                    content = content.replace(
                        f"http://schemas.openxmlformats.org/{part}/2006/",
                        f"http://purl.oclc.org/ooxml/{part}/",
                    )
            archive.writestr(name, content)
    return path


def numbered(text: str, level: int, num: int = 1, style: str = "") -> str:
    named = f'<w:pStyle w:val="{style}"/>' if style else ""
    properties = f'{named}<w:numPr><w:ilvl w:val="{level}"/><w:numId w:val="{num}"/></w:numPr>'
    return f"<w:p><w:pPr>{properties}</w:pPr><w:r><w:t>{text}</w:t></w:r></w:p>"


def level(index: int, label: str, kind: str = "decimal", start: int = 1, more: str = "") -> str:
    return (
        f'<w:lvl w:ilvl="{index}"><w:start w:val="{start}"/><w:numFmt w:val="{kind}"/>{more}'
        f'<w:lvlText w:val="{label}"/></w:lvl>'
    )


def numbering(*levels: str, nums: str = '<w:num w:numId="1"><w:abstractNumId w:val="0"/></w:num>') -> str:
    return f'<w:abstractNum w:abstractNumId="0">{"".join(levels)}</w:abstractNum>{nums}'


def run(text: str, properties: str = "") -> str:
    return f'<w:r><w:rPr>{properties}</w:rPr><w:t xml:space="preserve">{text}</w:t></w:r>'


# --- numbers ---


def test_clauses_show_their_numbers_as_word_does(tmp_path):
    levels = numbering(
        level(0, "Article %1", "upperRoman", more='<w:pStyle w:val="berschrift1"/>'),
        level(1, "%1.%2", more="<w:isLgl/>"),
        level(2, "(%3)", "lowerLetter"),
        level(3, "%4°", "lowerRoman", start=4, more='<w:suff w:val="nothing"/>'),
    )
    styles = (
        '<w:style w:type="paragraph" w:styleId="berschrift1"><w:name w:val="heading 1"/>'
        '<w:pPr><w:numPr><w:numId w:val="1"/></w:numPr></w:pPr></w:style>'
        '<w:style w:type="paragraph" w:styleId="Klausel"><w:name w:val="Klausel"/>'
        '<w:pPr><w:numPr><w:ilvl w:val="1"/><w:numId w:val="1"/></w:numPr></w:pPr></w:style>'
    )
    body = (
        paragraph("Parties", "berschrift1")
        + paragraph("The lessor.", "Klausel")
        + numbered("First.", 2)
        + numbered("Second.", 2)
        + numbered("Deep.", 3)
        + paragraph("The lessee.", "Klausel")
        + numbered("Again.", 2)
        + paragraph("Rent", "berschrift1")
        + paragraph("The rent.", "Klausel")
        + '<w:p><w:pPr><w:pStyle w:val="Klausel"/><w:numPr><w:numId w:val="0"/></w:numPr></w:pPr><w:r><w:t>Bare.</w:t></w:r></w:p>'
    )
    parsed = read_parsed(make_word(tmp_path / "x.docx", body, styles=styles, numbering=levels))
    assert lines_of(parsed) == [
        "# Article I Parties",
        "1.1 The lessor.",
        "(a) First.",
        "(b) Second.",
        "iv°Deep.",
        "1.2 The lessee.",
        "(a) Again.",
        "# Article II Rent",
        "2.1 The rent.",
        "Bare.",
    ]
    assert parsed["title"] == "Article I Parties"


def test_a_list_goes_on_or_starts_anew_as_its_definition_says(tmp_path):
    nums = (
        '<w:num w:numId="1"><w:abstractNumId w:val="0"/></w:num>'
        '<w:num w:numId="2"><w:abstractNumId w:val="0"/></w:num>'  # goes on: the same definition
        '<w:num w:numId="3"><w:abstractNumId w:val="0"/><w:lvlOverride w:ilvl="0">'
        '<w:startOverride w:val="7"/></w:lvlOverride></w:num>'
    )
    body = (
        numbered("One.", 0)
        + paragraph("Between.")
        + numbered("Two.", 0, 2)
        + numbered("Seven.", 0, 3)
        + numbered("Eight.", 0, 3)
    )
    parsed = read_parsed(
        make_word(tmp_path / "x.docx", body, numbering=numbering(level(0, "%1)"), nums=nums))
    )
    assert lines_of(parsed) == ["1) One.", "Between.", "2) Two.", "7) Seven.", "8) Eight."]


def test_bullets_stay_bullets_and_unnumbered_levels_stay_bare(tmp_path):
    body = numbered("A bullet.", 0) + numbered("Below.", 1) + numbered("Plain.", 2)
    levels = numbering(level(0, "•", "bullet"), level(1, "%2.", "ordinal"), level(2, "", "none"))
    parsed = read_parsed(make_word(tmp_path / "x.docx", body, numbering=levels))
    assert lines_of(parsed) == ["- A bullet.", "1st. Below.", "Plain."]


# --- text outside the paragraphs ---

_BOX = "<w:txbxContent>{}</w:txbxContent>"
_SHAPE = (
    '<w:drawing><wp:inline><a:graphic><a:graphicData uri="x"><wps:wsp><wps:txbx>{}</wps:txbx></wps:wsp>'
    "</a:graphicData></a:graphic></wp:inline></w:drawing>"
)


def test_text_boxes_come_once_after_their_paragraph_and_in_cells(tmp_path):
    choice = _SHAPE.format(_BOX.format(paragraph("Inner box.") + paragraph("Second line.")))
    fallback = (
        f"<w:pict><v:shape><v:textbox>{_BOX.format(paragraph('Inner box.'))}</v:textbox></v:shape></w:pict>"
    )
    both = f'<mc:AlternateContent><mc:Choice Requires="wps">{choice}</mc:Choice><mc:Fallback>{fallback}</mc:Fallback></mc:AlternateContent>'
    outer = _SHAPE.format(_BOX.format(f"<w:p>{run('Outer.')}<w:r>{both}</w:r></w:p>"))
    old = f"<w:pict><v:rect><v:textbox>{_BOX.format(paragraph('Old box.'))}</v:textbox></v:rect></w:pict>"
    body = (
        f"<w:p>{run('Before.')}<w:r>{outer}</w:r>{run(' After.')}</w:p><w:p>{run('Next.')}<w:r>{old}</w:r></w:p>"
        f"<w:tbl><w:tr><w:tc><w:p>{run('Cell')}<w:r>{_SHAPE.format(_BOX.format(paragraph('boxed')))}</w:r></w:p></w:tc></w:tr></w:tbl>"
    )
    parsed = read_parsed(make_word(tmp_path / "x.docx", body))
    assert lines_of(parsed)[:6] == [
        "Before. After.",
        "Outer.",
        "Inner box.",
        "Second line.",
        "Next.",
        "Old box.",
    ]
    assert "Cell" in parsed["text"] and parsed["text"].count("boxed") == 1


def test_page_headers_and_footers_are_there_once_without_page_numbers(tmp_path):
    page = (
        '<w:r><w:fldChar w:fldCharType="begin"/></w:r><w:r><w:instrText> PAGE </w:instrText></w:r>'
        '<w:r><w:fldChar w:fldCharType="separate"/></w:r><w:r><w:t>7</w:t></w:r><w:r><w:fldChar w:fldCharType="end"/></w:r>'
    )
    header = f'<w:p>{run("Order No. 88/4")}<w:r><w:tab/></w:r>{run("Page ")}{page}{run(" of ")}<w:fldSimple w:instr="NUMPAGES"><w:r><w:t>9</w:t></w:r></w:fldSimple></w:p>'
    body = (
        paragraph("First section.")
        + '<w:p><w:pPr><w:sectPr><w:headerReference w:type="default" r:id="header1"/></w:sectPr></w:pPr></w:p>'
        + paragraph("Second section.")
        + '<w:sectPr><w:headerReference w:type="default" r:id="header2"/><w:headerReference w:type="first" r:id="header3"/>'
        '<w:footerReference w:type="default" r:id="footer1"/></w:sectPr>'
    )
    parts = {
        "header1": header,
        "header2": header,
        "header3": paragraph("Never shown: no page of its own."),
        "footer1": paragraph("Valid until 1 March."),
    }
    parsed = read_parsed(make_word(tmp_path / "x.docx", body, **parts))
    assert lines_of(parsed) == ["Order No. 88/4", "First section.", "Second section.", "Valid until 1 March."]
    assert parsed["left_out"] == {"running heads and page numbers": 8}


def test_diagrams_and_charts_are_written_out(tmp_path):
    point = '<dgm:pt modelId="{0}" type="{1}"><dgm:t><a:p><a:r><a:t>{2}</a:t></a:r></a:p></dgm:t></dgm:pt>'
    points = "".join(
        point.format(*row)
        for row in [(0, "doc", ""), (1, "node", "Ship"), (2, "node", "Pick"), (3, "pres", "x")]
    )
    links = '<dgm:cxn srcId="0" destId="1" srcOrd="1"/><dgm:cxn srcId="0" destId="2" srcOrd="0"/>'
    data = f'<?xml version="1.0"?><dgm:dataModel {_NAMESPACES}><dgm:ptLst>{points}</dgm:ptLst><dgm:cxnLst>{links}</dgm:cxnLst></dgm:dataModel>'

    def values(*texts):
        return "".join(f'<c:pt idx="{i}"><c:v>{text}</c:v></c:pt>' for i, text in enumerate(texts))

    series = f"<c:ser><c:tx><c:strRef><c:strCache>{values('Herons')}</c:strCache></c:strRef></c:tx><c:cat><c:strRef><c:strCache>{values('2030', '2031')}</c:strCache></c:strRef></c:cat><c:val><c:numRef><c:numCache>{values('12', '17')}</c:numCache></c:numRef></c:val></c:ser>"
    chart = f'<?xml version="1.0"?><c:chartSpace {_NAMESPACES}><c:chart><c:title><c:tx><c:rich><a:p><a:r><a:t>Birds a year</a:t></a:r></a:p></c:rich></c:tx></c:title><c:plotArea><c:barChart>{series}</c:barChart></c:plotArea></c:chart></c:chartSpace>'
    body = f'<w:p>{run("Two pictures.")}<w:r><w:drawing><dgm:relIds r:dm="diagram1"/></w:drawing></w:r><w:r><w:drawing><c:chart r:id="chart1"/></w:drawing></w:r></w:p>'
    parsed = read_parsed(make_word(tmp_path / "x.docx", body, diagram1=data, chart1=chart))
    assert lines_of(parsed)[:4] == ["Two pictures.", "Pick", "Ship", "Birds a year"]
    assert "| 2031 | 17 |" in parsed["text"] and "Herons" in parsed["text"]


def test_what_cannot_be_read_is_named(tmp_path):
    body = (
        paragraph("Text.")
        + '<w:p><w:r><w:object><o:OLEObject ProgID="Excel.Sheet.12"/></w:object></w:r></w:p><w:altChunk r:id="x"/>'
    )
    notes = read_parsed(make_word(tmp_path / "x.docx", body))["notes"]
    assert any("Excel.Sheet.12" in note for note in notes) and any("inserted file" in note for note in notes)


# --- text that is not meant to be read ---


def test_hidden_and_deleted_text_and_comments_are_left_out_and_counted(tmp_path):
    styles = (
        _STYLES
        + '<w:style w:type="character" w:styleId="Secret"><w:name w:val="Secret"/><w:rPr><w:vanish/></w:rPr></w:style>'
        '<w:style w:type="paragraph" w:styleId="Note"><w:name w:val="Note"/><w:basedOn w:val="Base"/></w:style>'
        '<w:style w:type="paragraph" w:styleId="Base"><w:name w:val="Base"/><w:rPr><w:vanish/></w:rPr></w:style>'
    )
    shown, secret = '<w:vanish w:val="false"/>', '<w:rStyle w:val="Secret"/>'
    body = (
        f"<w:p>{run('Seen.')}{run('abc', '<w:vanish/>')}{run(' Shown.', shown)}"
        f"{run('de', secret)}</w:p>"
        f'<w:p><w:pPr><w:pStyle w:val="Note"/></w:pPr>{run("fghi")}{run("Not hidden.", shown)}</w:p>'
        "<w:p><w:del><w:r><w:delText>xyz</w:delText></w:r></w:del><w:moveFrom><w:r><w:t>moved</w:t></w:r></w:moveFrom>"
        "<w:moveTo><w:r><w:t>Moved here.</w:t></w:r></w:moveTo><w:commentReference/></w:p>"
        f"<w:tbl><w:tr><w:tc>{paragraph('Row')}</w:tc></w:tr><w:tr><w:trPr><w:del/></w:trPr><w:tc>{paragraph('gone')}</w:tc></w:tr></w:tbl>"
    )
    comments = f'<w:comment w:id="0">{paragraph("A remark")}</w:comment>'
    parsed = read_parsed(make_word(tmp_path / "x.docx", body, styles=styles, comments=comments))
    assert lines_of(parsed)[:3] == ["Seen. Shown.", "Not hidden.", "Moved here."]
    assert "gone" not in parsed["text"] and "Row" in parsed["text"]
    assert parsed["left_out"] == {"hidden text": 9, "deleted text": 12, "comments": 7}


# --- what stands inside a line ---


def test_a_deleted_paragraph_end_joins_two_and_counts_no_number(tmp_path):
    deleted = "<w:rPr><w:del/></w:rPr>"
    item = '<w:numPr><w:ilvl w:val="0"/><w:numId w:val="1"/></w:numPr>'
    body = (
        numbered("One.", 0)
        + f"<w:p><w:pPr>{item}{deleted}</w:pPr><w:del><w:r><w:delText>Gone.</w:delText></w:r></w:del></w:p>"
        + numbered("Two.", 0)
        + f"<w:p><w:pPr>{deleted}</w:pPr>{run('The gate is ')}</w:p>"
        + paragraph("locked.")
    )
    parsed = read_parsed(make_word(tmp_path / "x.docx", body, numbering=numbering(level(0, "%1."))))
    assert lines_of(parsed) == ["1. One.", "2. Two.", "The gate is locked."]


def test_form_values_symbols_and_raised_text(tmp_path):
    raised = '<w:position w:val="8"/>'
    tick = '<w:r><w:fldChar w:fldCharType="begin"><w:ffData><w:checkBox><w:checked/></w:checkBox></w:ffData></w:fldChar></w:r><w:r><w:instrText>FORMCHECKBOX</w:instrText></w:r><w:r><w:fldChar w:fldCharType="end"/></w:r>'
    choice = '<w:r><w:fldChar w:fldCharType="begin"><w:ffData><w:ddList><w:result w:val="1"/><w:listEntry w:val="red"/><w:listEntry w:val="green"/></w:ddList></w:ffData></w:fldChar></w:r><w:r><w:fldChar w:fldCharType="end"/></w:r>'
    control = "<w:sdt><w:sdtPr/><w:sdtContent>{}</w:sdtContent></w:sdt>"
    body = (
        f"<w:p>{tick}{run(' agreed, colour ')}{choice}{run(', name ')}{control.format(run('Ada'))}</w:p>"
        + control.format(paragraph("A block of a form."))
        + f'<w:p>{run("Angle ")}<w:r><w:sym w:font="Symbol" w:char="F061"/></w:r>{run(" of 10")}{run("5", raised)}'
        "<w:r><w:t>, well</w:t><w:noBreakHyphen/><w:t>known co</w:t><w:softHyphen/><w:t>operation</w:t><w:cr/><w:t>new line</w:t></w:r></w:p>"
        '<w:p><w:fldSimple w:instr="REF x"><w:r><w:t>Figure 3</w:t></w:r></w:fldSimple><w:smartTag><w:r><w:t> shows 東</w:t></w:r></w:smartTag><w:r><w:ruby><w:rt><w:r><w:t>きょう</w:t></w:r></w:rt><w:rubyBase><w:r><w:t>京</w:t></w:r></w:rubyBase></w:ruby></w:r></w:p>'
    )
    parsed = read_parsed(make_word(tmp_path / "x.docx", body))
    assert lines_of(parsed)[:2] == ["☒ agreed, colour green, name Ada", "A block of a form."]
    assert "Angle α of 10" in parsed["text"] and "105" not in parsed["text"]
    assert "well‑known cooperation" in parsed["text"] and "operationnew" not in parsed["text"]
    assert lines_of(parsed)[-1] == "Figure 3 shows 東京(きょう)"


def test_a_field_that_never_ends_swallows_no_text(tmp_path):
    body = (
        '<w:p><w:r><w:fldChar w:fldCharType="begin"/></w:r><w:r><w:instrText>TOC</w:instrText></w:r></w:p>'
        + paragraph("All is here.")
    )
    assert lines_of(read_parsed(make_word(tmp_path / "x.docx", body))) == ["All is here."]


def test_formulas_become_tex_and_footnotes_keep_their_number(tmp_path):
    fraction = "<m:oMath><m:f><m:num><m:r><m:t>a</m:t></m:r></m:num><m:den><m:r><m:t>b</m:t></m:r></m:den></m:f></m:oMath>"
    orphan = f'<w:footnote w:id="5">{paragraph("Orphan")}</w:footnote>'
    note = f'{orphan}<w:footnote w:id="2"><w:p>{run("The note text.")}</w:p></w:footnote>'
    body = f'<w:p>{run("Ratio ")}{fraction}{run(" holds")}<w:r><w:footnoteReference w:id="2"/></w:r>{run(".")}</w:p>'
    parsed = read_parsed(make_word(tmp_path / "x.docx", body, footnotes=note))
    assert r"\frac{a}{b}" in parsed["text"]
    assert "holds[1]." in parsed["text"] and "[1] The note text." in parsed["text"]
    assert parsed["left_out"] == {"notes without a mark": 6}


# --- tables ---


def cell(text: str, properties: str = "") -> str:
    return f"<w:tc><w:tcPr>{properties}</w:tcPr>{paragraph(text)}</w:tc>"


def table(*rows: str) -> str:
    return "<w:tbl><w:tblPr/>" + "".join(f"<w:tr>{row}</w:tr>" for row in rows) + "</w:tbl>"


def cells(parsed) -> list[list[str]]:
    return [
        [text.strip() for text in line.strip("|").split("|")]
        for line in lines_of(parsed)
        if line.startswith("|")
    ]


def test_merged_and_skipped_cells_keep_their_columns(tmp_path):
    body = table(
        cell("Depot") + cell("Vehicle") + cell("Seats"),
        cell("North", '<w:vMerge w:val="restart"/>') + cell("Tram 12") + cell("48"),
        cell("", "<w:vMerge/>") + cell("Tram 15") + cell("52"),
        cell("All of them", '<w:gridSpan w:val="2"/>') + cell("100"),
        cell("Wide", '<w:hMerge w:val="restart"/>') + cell("", '<w:hMerge w:val="continue"/>') + cell("7"),
        '<w:trPr><w:gridBefore w:val="2"/></w:trPr>' + cell("9"),
    )
    rows = cells(read_parsed(make_word(tmp_path / "x.docx", body)))
    assert all(len(row) == 3 for row in rows)
    assert [row[-1] for row in rows] == ["Seats", "---", "48", "52", "100", "7", "9"]
    assert rows[3][1] == "Tram 15"


def test_a_bar_in_a_cell_is_no_border(tmp_path):
    body = table(cell("Command") + cell("Effect"), cell("ls | wc") + cell("Counts."))
    assert "| ls \\| wc | Counts. |" in read_parsed(make_word(tmp_path / "x.docx", body))["text"]


# --- files ---


def test_a_docx_keeps_headings_lists_and_tables(tmp_path):
    cells = "".join(f"<w:tc>{paragraph(text)}</w:tc>" for text in ("Otter", "9 kg"))
    head = "".join(f"<w:tc>{paragraph(text)}</w:tc>" for text in ("Animal", "Weight"))
    body = (
        paragraph("Tiere am Fluß", "Heading1")
        + paragraph("Der Otter frißt Fische &amp; Krebse.")
        + f"<w:tbl><w:tr>{head}</w:tr><w:tr>{cells}</w:tr></w:tbl>"
    )
    document = read_one(make_docx(tmp_path / "tiere.docx", body))
    assert document["text"].startswith("# Tiere am Fluß\n\nDer Otter frißt Fische & Krebse.")
    assert "| Otter | 9 kg |" in document["text"]
    assert document["title"] == "Tiere am Fluß"
    assert document["page_starts"] == []


def test_unreadable_docx_files_get_a_reason(tmp_path):
    good = make_docx(tmp_path / "x.docx", paragraph("Some text.")).read_bytes()
    (tmp_path / "x.docx").unlink()
    assert "broken" in skip_reason(tmp_path, "cut.docx", good[: len(good) // 2])
    assert "password" in skip_reason(tmp_path, "old.docx", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(100))
    empty = make_docx(tmp_path / "y.docx", "").read_bytes()
    assert "no text" in skip_reason(tmp_path, "empty.docx", empty)
    with zipfile.ZipFile(tmp_path / "z.zip", "w") as archive:
        archive.writestr("notes.txt", "text")
    assert "no DOCX" in skip_reason(tmp_path, "zipped.docx", (tmp_path / "z.zip").read_bytes())


def test_a_zip_bomb_is_skipped_without_being_unpacked(tmp_path):
    bomb = make_docx(tmp_path / "bomb", "")
    with (
        zipfile.ZipFile(bomb, "a", zipfile.ZIP_DEFLATED) as archive,
        archive.open("word/big.xml", "w") as part,
    ):
        for _ in range(210):
            part.write(bytes(1024**2))
    assert bomb.stat().st_size < 1024**2
    started_at = time.monotonic()
    assert "unpacks to 210 MiB" in skip_reason(tmp_path, "bomb.docx", bomb.read_bytes())
    assert time.monotonic() - started_at < 30


def test_an_entity_bomb_is_not_expanded(tmp_path):
    entities = "".join(f'<!ENTITY e{n + 1} "{f"&e{n};" * 10}">' for n in range(9))
    prolog = f'<!DOCTYPE lol [<!ENTITY e0 "lol">{entities}]>'
    bomb = make_docx(tmp_path / "bomb", paragraph("&e9;"), prolog=prolog)
    assert "broken" in skip_reason(tmp_path, "laughs.docx", bomb.read_bytes())


def test_a_file_is_what_it_holds(tmp_path):
    good = make_docx(tmp_path / "x.docx", paragraph("Some text.")).read_bytes()
    (tmp_path / "letter").write_bytes(good)
    assert read_one(tmp_path / "letter")["text"] == "Some text."
    assert "its content is DOCX" in skip_reason(tmp_path, "x.pdf", good)
    assert "its content is DOCX" in skip_reason(tmp_path, "x.epub", good)
    old = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(100)
    assert "old .ppt" in skip_reason(tmp_path, "x.pptx", old)
    assert "save it as .docx" in skip_reason(tmp_path, "x.doc", old)


def test_other_prefixes_of_the_same_names_do_not_matter(tmp_path):
    body = paragraph("Head", "berschrift1") + numbered("One.", 0)
    make_word(tmp_path / "x.docx", body, numbering=numbering(level(0, "%1.")))
    with zipfile.ZipFile(tmp_path / "x.docx") as good, zipfile.ZipFile(tmp_path / "y.docx", "w") as other:
        for name in good.namelist():
            content = good.read(name).decode()
            if name == "word/document.xml":
                content = content.replace("<w:", "<ns0:").replace("</w:", "</ns0:").replace(" w:", " ns0:")
                content = content.replace("xmlns:w=", "xmlns:ns0=")
            other.writestr(name, content)
    assert lines_of(read_parsed(tmp_path / "y.docx")) == ["# Head", "1. One."]


def test_names_with_backslashes_are_parts_as_well(tmp_path):
    make_docx(tmp_path / "x.docx", paragraph("Some text."))
    with zipfile.ZipFile(tmp_path / "x.docx") as good, zipfile.ZipFile(tmp_path / "y.docx", "w") as other:
        for name in good.namelist():
            other.writestr(name.replace("/", "\\"), good.read(name))
    assert read_one(tmp_path / "y.docx")["text"] == "Some text."


# --- the program that converts ---


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_a_converter_at_work_ends_with_its_parser(tmp_path):
    path = make_docx(tmp_path / "x.docx", paragraph("Some words of a long document.") * 10_000)
    parser = Parser(seconds=60, max_memory=2 * 1024**3)
    with parser:
        thread = threading.Thread(target=_parse_quietly, args=(parser, path))
        thread.start()
        group: list[str] = []
        while not any("pandoc" in program for program in group):
            assert thread.is_alive()
            time.sleep(0.02)
            group = _programs_of_group(parser._process.pid) if parser._process else []
        pid = parser._process.pid
    thread.join()
    deadline = time.monotonic() + 5
    while _programs_of_group(pid) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert _programs_of_group(pid) == []


def _parse_quietly(parser: Parser, path: Path) -> None:
    with contextlib.suppress(Unreadable, ValueError, AttributeError):
        parser.parse(path, "docx")


def _programs_of_group(group: int) -> list[str]:
    programs = []
    for entry in Path("/proc").iterdir():
        with contextlib.suppress(OSError):
            name, _, fields = (
                (entry / "stat").read_text().rpartition(")") if entry.name.isdigit() else ("", "", "")
            )
            if fields.split()[2:3] == [str(group)] and fields.split()[0] != "Z":
                programs.append(name)
    return programs


def test_a_converter_out_of_time_or_memory_says_so(tmp_path, monkeypatch):
    program = tmp_path / "pandoc"
    program.write_text("#!/bin/sh\nkill -XCPU $$\n", encoding="utf-8")
    program.chmod(0o755)
    monkeypatch.setattr(pandoc, "_find", lambda: str(program))
    raised: list[int] = []
    previous = signal.signal(signal.SIGXCPU, lambda number, frame: raised.append(number))
    try:
        with contextlib.suppress(Unreadable):
            pandoc.convert_to_html(b"", "docx")
    finally:
        signal.signal(signal.SIGXCPU, previous)
    assert raised == [signal.SIGXCPU]  # the parser ends as if it had used the time itself
    program.write_text("#!/bin/sh\nexit 251\n", encoding="utf-8")
    with pytest.raises(MemoryError):
        pandoc.convert_to_html(b"", "docx")


def test_without_a_converter_the_reason_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setattr(pandoc, "find_spec", lambda name: None)
    monkeypatch.setattr(pandoc.shutil, "which", lambda name: None)
    path = make_docx(tmp_path / "x.docx", paragraph("Some text."))
    reply = _parse(str(path), "docx", "", lambda done, total: None)
    assert reply == {"reason": "no parser: pip install pypandoc-binary"}
