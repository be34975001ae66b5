"""PowerPoint presentations, read as the audience sees them."""

from __future__ import annotations

from pathlib import Path

from tests.document_files import lines_of, make_archive, read_one, read_parsed

_NAMESPACES = " ".join(
    f'xmlns:{prefix}="http://schemas.openxmlformats.org/{uri}"'
    for prefix, uri in {
        "p": "presentationml/2006/main",
        "a": "drawingml/2006/main",
        "r": "officeDocument/2006/relationships",
        "m": "officeDocument/2006/math",
        "mc": "markup-compatibility/2006",
    }.items()
)
_RELATIONS = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
_PACKAGE = "http://schemas.openxmlformats.org/package/2006"


def _related(**targets: str) -> str:
    rows = "".join(
        f'<Relationship Id="{id}" Type="{_RELATIONS}/{target.split()[0]}" Target="{target.split()[1]}"/>'
        for id, target in targets.items()
    )
    return f'<Relationships xmlns="{_PACKAGE}/relationships">{rows}</Relationships>'


def make_pptx(
    path: Path, slides: list[str], *, attributes: str = "", notes: str = "", comments: str = ""
) -> Path:
    """Write a presentation of slides, each its shapes; notes and comments belong to the last one."""
    ids = "".join(f'<p:sldId id="{256 + i}" r:id="s{i}"/>' for i in range(len(slides)))
    parts = {
        "[Content_Types].xml": f'<Types xmlns="{_PACKAGE}/content-types"/>',
        "_rels/.rels": _related(r1="officeDocument ppt/presentation.xml"),
        "ppt/presentation.xml": f"<p:presentation {_NAMESPACES}><p:sldIdLst>{ids}</p:sldIdLst></p:presentation>",
        "ppt/_rels/presentation.xml.rels": _related(
            **{f"s{i}": f"slide slides/slide{9 - i}.xml" for i in range(len(slides))}
        ),
    }
    for i, shapes in enumerate(slides):
        last = attributes if i == len(slides) - 1 else ""
        parts[f"ppt/slides/slide{9 - i}.xml"] = (
            f"<p:sld {_NAMESPACES} {last}><p:cSld><p:spTree>{shapes}</p:spTree></p:cSld></p:sld>"
        )
    related = {}
    if notes:
        related["n"] = "notesSlide ../notes.xml"
        body = shape(notes, kind="body") + shape("12", kind="sldNum")
        parts["ppt/notes.xml"] = (
            f"<p:notes {_NAMESPACES}><p:cSld><p:spTree>{body}</p:spTree></p:cSld></p:notes>"
        )
    if comments:
        related["c"] = "comments ../comments.xml"
        parts["ppt/comments.xml"] = (
            f"<p:cmLst {_NAMESPACES}><p:cm><p:text>{comments}</p:text></p:cm></p:cmLst>"
        )
    parts[f"ppt/slides/_rels/slide{10 - len(slides)}.xml.rels"] = _related(**related)
    return make_archive(path, parts)


def paragraph(text: str, properties: str = "") -> str:
    return f"<a:p>{properties}<a:r><a:t>{text}</a:t></a:r></a:p>"


def shape(text: str, *, kind: str = "", at: tuple[int, int] | None = None) -> str:
    content = text if text.startswith("<") else paragraph(text)
    place = f'<p:nvPr><p:ph type="{kind}"/></p:nvPr>' if kind else "<p:nvPr/>"
    box = f'<a:xfrm><a:off x="{at[0]}" y="{at[1]}"/><a:ext cx="90" cy="40"/></a:xfrm>' if at else ""
    return f"<p:sp><p:nvSpPr>{place}</p:nvSpPr><p:spPr>{box}</p:spPr><p:txBody>{content}</p:txBody></p:sp>"


def test_slides_come_in_their_order_with_title_first_and_notes_last(tmp_path):
    first = shape("Body text.", kind="body") + shape("Welcome", kind="title")
    second = shape("Herons", kind="title") + shape("Figures", at=(0, 0))
    path = make_pptx(tmp_path / "x.pptx", [first, second], notes="Say it slowly.", comments="Typo?")
    parsed = read_parsed(path)
    assert lines_of(parsed) == ["## Welcome", "- Body text.", "## Herons", "Figures", "Say it slowly."]
    assert parsed["left_out"] == {"comments": 4}
    document = read_one(path)
    assert [document["text"][start:].split("\n")[0] for start in document["page_starts"]] == [
        "## Welcome",
        "## Herons",
    ]


def test_free_boxes_are_read_from_top_to_bottom_and_left_to_right(tmp_path):
    boxes = [("four", (100, 100)), ("three", (0, 100)), ("two", (100, 0)), ("one", (0, 2))]
    slide = "".join(shape(text, at=at) for text, at in boxes)
    group = f"<p:grpSp><p:grpSpPr><a:xfrm><a:off x='0' y='200'/><a:ext cx='9' cy='9'/></a:xfrm></p:grpSpPr>{shape('in a group', at=(0, 0))}</p:grpSp>"
    assert lines_of(read_parsed(make_pptx(tmp_path / "x.pptx", [group + slide]))) == [
        "one",
        "two",
        "three",
        "four",
        "in a group",
    ]


def test_numbers_of_lists_and_raised_figures_are_kept(tmp_path):
    number = '<a:pPr lvl="{}"><a:buAutoNum type="{}" startAt="{}"/></a:pPr>'
    body = (
        paragraph("First", number.format(0, "arabicPeriod", 3))
        + paragraph("Detail", number.format(1, "alphaLcParenR", 1))
        + paragraph("Second", number.format(0, "arabicPeriod", 3))
        + "<a:p><a:pPr><a:buNone/></a:pPr><a:r><a:t>About 10</a:t></a:r><a:r><a:rPr baseline='30000'/><a:t>5</a:t></a:r></a:p>"
    )
    parsed = read_parsed(make_pptx(tmp_path / "x.pptx", [shape(body, kind="body")]))
    assert lines_of(parsed) == ["3. First", "a) Detail", "4. Second", "About 10^5"]


def test_tables_keep_their_columns_under_merged_cells(tmp_path):
    def cell(text: str, attributes: str = "") -> str:
        return f"<a:tc {attributes}><a:txBody>{paragraph(text)}</a:txBody></a:tc>"

    rows = [
        cell("Depot") + cell("Tram"),
        cell("North", 'rowSpan="2"') + cell("12"),
        cell("", 'vMerge="1"') + cell("15"),
        cell("Both", 'gridSpan="2"') + cell("", 'hMerge="1"'),
    ]
    table = "<a:tbl>" + "".join(f"<a:tr>{row}</a:tr>" for row in rows) + "</a:tbl>"
    frame = f"<p:graphicFrame><a:graphic><a:graphicData>{table}</a:graphicData></a:graphic></p:graphicFrame>"
    written = [
        line for line in lines_of(read_parsed(make_pptx(tmp_path / "x.pptx", [frame]))) if line[0] == "|"
    ]
    assert {line.count("|") for line in written} == {3}
    assert written[3].endswith("| 15 |")


def test_hidden_slides_and_shapes_and_running_feet_are_counted(tmp_path):
    foot = shape("Company secret", kind="ftr") + shape("4", kind="sldNum")
    hidden = shape("Draft").replace("<p:nvPr/>", '<p:cNvPr hidden="1"/><p:nvPr/>')
    slides = [shape(text, kind="title") + foot for text in ("One", "Two")]
    slides += [shape("Three", kind="title") + hidden, shape("Four", kind="title")]
    parsed = read_parsed(make_pptx(tmp_path / "x.pptx", slides, attributes='show="0"'))
    assert lines_of(parsed) == ["## One", "Company secret", "## Two", "## Three"]
    assert parsed["left_out"] == {
        "running heads and page numbers": 15,
        "hidden slides": 4,
        "hidden text": 5,
    }
    assert len(parsed["page_starts"]) == 4


def test_formulas_become_tex_and_pictures_are_named(tmp_path):
    formula = "<m:oMath><m:f><m:num><m:r><m:t>a</m:t></m:r></m:num><m:den><m:r><m:t>b</m:t></m:r></m:den></m:f></m:oMath>"
    both = f'<mc:AlternateContent><mc:Choice Requires="a14"><p:sp><p:txBody><a:p><a:r><a:t>Ratio </a:t></a:r>{formula}</a:p></p:txBody></p:sp></mc:Choice><mc:Fallback>{shape("Ratio as a picture")}</mc:Fallback></mc:AlternateContent>'
    parsed = read_parsed(make_pptx(tmp_path / "x.pptx", [both, "<p:pic/>"]))
    assert parsed["text"] == r"Ratio $\frac{a}{b}$"
    assert parsed["notes"] == ["no text on slide 2: a picture"]
