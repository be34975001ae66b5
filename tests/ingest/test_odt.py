"""OpenDocument texts, read as LibreOffice shows them."""

from __future__ import annotations

from pathlib import Path

from tests.document_files import lines_of, make_archive, read_parsed, skip_reason

_NAMESPACES = " ".join(
    f'xmlns:{prefix}="urn:oasis:names:tc:opendocument:xmlns:{uri}:1.0"'
    for prefix, uri in {
        "office": "office",
        "text": "text",
        "table": "table",
        "style": "style",
        "draw": "drawing",
        "form": "form",
        "chart": "chart",
    }.items()
)
_NAMESPACES += ' xmlns:xlink="http://www.w3.org/1999/xlink" xmlns:dc="http://purl.org/dc/elements/1.1/"'
_MIMETYPE = "application/vnd.oasis.opendocument.text"


def make_odt(path: Path, body: str, *, styles: str = "", pages: str = "", **parts: str) -> Path:
    """Write a text; styles: those of content.xml; pages: the content of styles.xml."""
    content = f"<office:document-content {_NAMESPACES}><office:automatic-styles>{styles}</office:automatic-styles><office:body><office:text>{body}</office:text></office:body></office:document-content>"
    return make_archive(
        path,
        {
            "mimetype": _MIMETYPE,
            "content.xml": content,
            "styles.xml": f"<office:document-styles {_NAMESPACES}>{pages}</office:document-styles>",
            **parts,
        },
    )


def paragraph(text: str, style: str = "") -> str:
    return f'<text:p text:style-name="{style}">{text}</text:p>'


def _style(name: str, properties: str, family: str = "text") -> str:
    return f'<style:style style:name="{name}" style:family="{family}"><style:text-properties {properties}/></style:style>'


def test_headings_and_lists_show_their_numbers(tmp_path):
    outline = (
        '<text:outline-style><text:outline-level-style text:level="1" style:num-format="I" style:num-prefix="Article "/>'
        '<text:outline-level-style text:level="2" style:num-format="1" text:display-levels="2"/></text:outline-style>'
    )
    styles = (
        '<text:list-style style:name="L"><text:list-level-style-number text:level="1" style:num-format="1" style:num-suffix="."/>'
        '<text:list-level-style-number text:level="2" style:num-format="a" style:num-suffix=")"/></text:list-style>'
        '<text:list-style style:name="B"><text:list-level-style-bullet text:level="1"/></text:list-style>'
    )
    item = "<text:list-item>{}</text:list-item>"
    inner = f"<text:list>{item.format(paragraph('inner'))}{item.format(paragraph('inner two'))}</text:list>"
    body = (
        '<text:h text:outline-level="1">Parties</text:h><text:h text:outline-level="2">The lessor</text:h>'
        + f'<text:list text:style-name="L">{item.format(paragraph("one") + inner)}{item.format(paragraph("two"))}</text:list>'
        + paragraph("Between.")
        + f'<text:list text:style-name="L" text:continue-numbering="true">{item.format(paragraph("three"))}</text:list>'
        + f'<text:list text:style-name="L"><text:list-item text:start-value="9">{paragraph("nine")}</text:list-item></text:list>'
        + f'<text:list text:style-name="B">{item.format(paragraph("bullet"))}</text:list>'
        + '<text:h text:outline-level="1">Rent</text:h>'
    )
    parsed = read_parsed(make_odt(tmp_path / "x.odt", body, styles=styles, pages=outline))
    assert lines_of(parsed) == [
        "# Article I Parties",
        "## I.1 The lessor",
        "1. one",
        "a) inner",
        "b) inner two",
        "2. two",
        "Between.",
        "3. three",
        "9. nine",
        "- bullet",
        "# Article II Rent",
    ]


def test_tables_keep_their_columns_under_merged_cells(tmp_path):
    def cell(text: str, attributes: str = "") -> str:
        return f"<table:table-cell {attributes}>{paragraph(text)}</table:table-cell>"

    covered = "<table:covered-table-cell/>"
    rows = [
        cell("Depot") + cell("Tram") + cell("Seats"),
        cell("North", 'table:number-rows-spanned="2"') + cell("12") + cell("48"),
        covered + cell("15") + cell("52"),
        cell("Both", 'table:number-columns-spanned="2"') + covered + cell("100"),
    ]
    head, *others = (f"<table:table-row>{row}</table:table-row>" for row in rows)
    table = f"<table:table><table:table-header-rows>{head}</table:table-header-rows>{''.join(others)}</table:table>"
    written = [line for line in lines_of(read_parsed(make_odt(tmp_path / "x.odt", table))) if line[0] == "|"]
    assert {line.count("|") for line in written} == {4}
    assert written[3].endswith("| 15 | 52 |")


def test_notes_boxes_formulas_and_raised_figures_are_kept(tmp_path):
    note = f'<text:note text:note-class="footnote"><text:note-citation>1</text:note-citation><text:note-body>{paragraph("The note.")}</text:note-body></text:note>'
    box = f"<draw:frame><draw:text-box>{paragraph('In the box.')}</draw:text-box></draw:frame>"
    formula = '<draw:frame><draw:object xlink:href="./Object 1"/></draw:frame>'
    maths = '<m:math xmlns:m="http://www.w3.org/1998/Math/MathML"><m:semantics><m:mfrac><m:mi>a</m:mi><m:mi>b</m:mi></m:mfrac><m:annotation encoding="StarMath 5.0">{a} over {b}</m:annotation></m:semantics></m:math>'
    body = paragraph(
        f"A lake{note} of 10<text:span text:style-name='up'>5</text:span> m{box}<text:s text:c='3'/>wide, ratio {formula}."
    )
    parsed = read_parsed(
        make_odt(
            tmp_path / "x.odt",
            body,
            styles=_style("up", 'style:text-position="super 58%"'),
            **{"Object 1/content.xml": maths},
        )
    )
    assert lines_of(parsed) == ["A lake[1] of 10^5 m wide, ratio a/b.", "In the box.", "[1] The note."]


def test_deleted_and_hidden_text_and_comments_are_counted(tmp_path):
    body = (
        f"<text:tracked-changes><text:changed-region><text:deletion><office:change-info><dc:creator>Ann</dc:creator></office:change-info>{paragraph('gone')}</text:deletion></text:changed-region></text:tracked-changes>"
        + paragraph(
            "Seen<text:span text:style-name='dark'>abc</text:span>, <text:change/>shown<office:annotation><text:p>remark</text:p></office:annotation>."
        )
        + f'<text:section text:display="none">{paragraph("Section")}</text:section>'
        + "<text:p><text:hidden-paragraph text:is-hidden='true'/>hush</text:p>"
        + "<text:table-of-content><text:table-of-content-source>template</text:table-of-content-source><text:index-body>"
        + paragraph("Chapter one")
        + "</text:index-body></text:table-of-content>"
    )
    parsed = read_parsed(make_odt(tmp_path / "x.odt", body, styles=_style("dark", 'text:display="none"')))
    assert lines_of(parsed) == ["Seen, shown.", "Chapter one"]
    assert parsed["left_out"] == {"deleted text": 4, "hidden text": 14, "comments": 6}


def test_page_headers_are_there_once_and_forms_show_their_values(tmp_path):
    header = "<style:header><text:p>Order No. 88/4<text:tab/>Page <text:page-number>3</text:page-number></text:p></style:header>"
    pages = f"<office:master-styles><style:master-page>{header}</style:master-page><style:master-page>{header}<style:footer>{paragraph('Valid until May.')}</style:footer></style:master-page></office:master-styles>"
    forms = '<office:forms><form:form><form:text form:id="c1" form:current-value="Ada"/></form:form></office:forms>'
    body = forms + paragraph('Name: <draw:control draw:control="c1"/>')
    parsed = read_parsed(make_odt(tmp_path / "x.odt", body, pages=pages))
    assert lines_of(parsed) == ["Order No. 88/4", "Name: Ada", "Valid until May."]
    assert parsed["left_out"] == {"running heads and page numbers": 5}


def test_encrypted_and_broken_files_say_so(tmp_path):
    manifest = "<manifest><encryption-data/></manifest>"
    locked = make_odt(tmp_path / "x.odt", paragraph("x"), **{"META-INF/manifest.xml": manifest}).read_bytes()
    assert "password" in skip_reason(tmp_path, "locked.odt", locked)
    good = make_odt(tmp_path / "x.odt", paragraph("x")).read_bytes()
    assert "its content is ODT" in skip_reason(tmp_path, "wrong.docx", good)
    assert "broken" in skip_reason(tmp_path, "cut.odt", good[:-40])
    empty = make_archive(tmp_path / "y", {"mimetype": _MIMETYPE}).read_bytes()
    assert "no ODT" in skip_reason(tmp_path, "empty.odt", empty)
