"""Plain text, Markdown and reStructuredText: line ends, front matter, comments, data that is no text."""

from __future__ import annotations

import base64
import random
from itertools import pairwise

import pytest

from tests.document_files import make_pdf, placed_lines, read_items, read_one, skip_reason
from tools.raft.ingest.formats.markdown import parse_markdown, read_markdown
from tools.raft.ingest.formats.parsed import Parsed, Unreadable, count_characters
from tools.raft.ingest.formats.plain import read_rst, read_text, sniff

MILL = "The mill grinds four tonnes a day when the water is high."


def lost(parsed: Parsed) -> int:
    """Return the characters that are neither in the text nor accounted for."""
    return parsed["seen"] - count_characters(parsed["text"]) - sum(parsed["left_out"].values())


def markdown(text: str) -> Parsed:
    parsed = read_markdown(text.encode())
    assert lost(parsed) == 0
    return parsed


# --- characters --------------------------------------------------------------------------------------


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
def test_text_is_decoded_by_its_byte_order_mark(tmp_path, encoding):
    (tmp_path / "a.txt").write_bytes("Größe: 5 µm\r\n水獭吃鱼。".encode(encoding))
    assert read_one(tmp_path / "a.txt")["text"] == "Größe: 5 µm\n水獭吃鱼。"


@pytest.mark.parametrize("line_end", [*"\n\r\v\f\x1c\x1d\x1e\x85\u2028\u2029", "\r\n", "\r\r\n"])
def test_every_line_end_parts_words_and_lines(tmp_path, line_end):
    (tmp_path / "a.txt").write_text(f"to Holm{line_end}leaves at nine.", encoding="utf-8", newline="")
    assert read_one(tmp_path / "a.txt")["text"] == "to Holm\nleaves at nine."


def test_invisible_signs_do_not_part_words(tmp_path):
    text = "co\xadoper\xad\nation, zero\u200bwidth, \ufeffmark, Ann\u202ee\u202c, bell\x07, hid\U000e0061den. می\u200cخواهم"
    (tmp_path / "a.txt").write_text(text, encoding="utf-8")
    assert (
        read_one(tmp_path / "a.txt")["text"]
        == "cooperation, zerowidth, mark, Anne, bell, hidden. می\u200cخواهم"
    )


def test_terminal_codes_and_overstruck_letters_are_left_out_and_counted(tmp_path):
    text = (
        "N\bNA\bAM\bME\bE\n_\bls lists \x1b[1;31mfiles\x1b[0m\x1b]0;window\x07.\nIt's windows\x92 own quote."
    )
    parsed = read_text(text.encode())
    assert parsed["left_out"] == {"terminal codes": len("NAME" + "131m" + "0m" + "0window")}
    assert lost(parsed) == 0
    (tmp_path / "a.txt").write_text(text, encoding="utf-8")
    assert read_one(tmp_path / "a.txt")["text"] == "NAME\nls lists files.\nIt's windows’ own quote."


def test_unreadable_text_files_get_a_reason(tmp_path):
    assert skip_reason(tmp_path, "latin.txt", "Größe".encode("latin-1")) == (
        "not UTF-8 text (byte 0xF6 at 2); save it as UTF-8"
    )
    assert "binary" in skip_reason(tmp_path, "core.txt", b"\x7fELF\x00\x01\x02")
    assert "binary" in skip_reason(tmp_path, "wide.txt", "Größe".encode("utf-16-le"))
    assert "PDF" in skip_reason(tmp_path, "really.txt", make_pdf([placed_lines(72, 720, [MILL])]))
    assert "PNG" in skip_reason(tmp_path, "logo.md", b"\x89PNG\r\n\x1a\n")
    assert "gzip" in skip_reason(tmp_path, "log.txt", b"\x1f\x8b\x08\x08")
    assert "XML" in skip_reason(tmp_path, "feed.txt", b'<?xml version="1.0"?><rss><item>x</item></rss>')
    assert skip_reason(tmp_path, "nothing.txt", b"") == "empty"
    assert skip_reason(tmp_path, "blank.md", b" \n\n ") == "empty"
    assert "over the limit" in skip_reason(tmp_path, "big.txt", b"word " * 300, max_bytes=1000)


# --- data that is no text ------------------------------------------------------------------------------

NOISE = base64.encodebytes(random.Random(5).randbytes(6000)).decode()


@pytest.mark.parametrize("name", ["key.pem", "data.txt", "notes.md"])
def test_base64_is_no_text(tmp_path, name):
    for data in (NOISE, NOISE.replace("\n", "")):
        assert "base64" in skip_reason(tmp_path, name, data.encode())


def test_minified_code_is_no_text(tmp_path):
    code = "function a(b,c){if(b>c){return d(b)};e=f[c]&&(g=h)};" * 100
    assert "program code" in skip_reason(tmp_path, "app.min.js", code.encode())
    assert read_text(("One long line of ordinary text, (as some editors write). " * 100).encode())


def test_embedded_data_is_left_out_of_a_text_and_counted():
    picture = "data:image/png;base64," + NOISE.replace("\n", "")
    parsed = markdown(
        f"# Mill\n\n{MILL * 99}\n\n![wheel]({picture})\n\n[image1]: <{picture}>\n\n{NOISE[:2000]}\nEnd."
    )
    assert len(parsed["text"]) < len(MILL) * 99 + 100
    assert parsed["left_out"]["embedded data"] > 15_000
    assert "![wheel]" in parsed["text"] and "End." in parsed["text"]


def test_genomes_and_hashes_are_kept():
    genome = "\n".join("GATTACA" * 10 for _ in range(20))
    assert read_text(genome.encode())["text"] == genome


def test_pages_and_markdown_that_begin_like_xml_are_no_data(tmp_path):
    page = '<?xml version="1.0"?>\n<?xml-stylesheet href="a.css"?>\n<!-- x -->\n<html><body><p>Otters.</p></body></html>'
    assert sniff(page.encode()) == "HTML"
    (tmp_path / "a.md").write_text(f"<svg></svg>\n\n# Mill\n\n{MILL}", encoding="utf-8")
    assert read_one(tmp_path / "a.md")["title"] == "Mill"


def test_sniffing_is_linear():
    assert sniff(b"<!---->" * 500 + b"x") == ""


# --- front matter ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("line_end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize(
    "front",
    [
        '---\ntitle: "The granary"\ndate: 2031-04-02\ntags: [a, b]\n---',
        "---\nTitle: The granary\nAuthor: nobody\n...",
        "---\ntitle: >\n  The\n  granary\nlayout: page\n---",
        "---\nlayout: a: broken: field\ntitle: The granary\n---",
        '+++\n# comment\ntitle = "The granary"\ndraft = false\n[params]\nx = 1\n+++',
        "+++\ndraft = false\ntitle = 'The granary'\n+++",
        '{\n  "title": "The granary",\n  "draft": false\n}\n',
    ],
)
def test_front_matter_yields_the_title_and_is_left_out(front, line_end):
    text = f"{front}\n\n{MILL}\n\n---\n\nAnd rests.".replace("\n", line_end)
    parsed = markdown(text)
    assert parsed["title"] == "The granary"
    assert parsed["text"] == f"{MILL}\n\n---\n\nAnd rests."
    assert set(parsed["left_out"]) == {"front matter"}


@pytest.mark.parametrize(
    "text",
    [
        "---\n\nNotice: the slipway is closed.\n\n---\n\n# Rules\n\nText.",
        "---\nNotice to all: the slipway is closed in May.\nBoats must be moved.\n---\n\nText.",
        "---\nNote: the gate is locked at dusk.\n---\n\nText.",
        "---\n- one\n- two\n---\n\nText.",
        "---\nJust a sentence.\n---\n\nText.",
        "+++\nNo fields here.\n+++\n\nText.",
        "{% include x %}\n\nText.",
        '{"a": 1}\n\nText.',
        "---\na: &a [x, x]\nb: [*a, *a]\n",
    ],
)
def test_text_between_rules_is_kept(text):
    assert markdown(text)["text"] == text.strip()


def test_hostile_front_matter_is_read_at_once():
    letters = "abcdefgh"
    bomb = "a: &a {x: 1}\n" + "".join(
        f"{b}: &{b} {{<<: [{', '.join([f'*{a}'] * 9)}]}}\n" for a, b in pairwise(letters)
    )
    for block in (bomb, "a: " + "[" * 20_000, "a: " + "[" * 900, "x\n" * 10_000, "&a b\n" * 9000):
        assert markdown(f"---\n{block}\n---\n\nText.")["text"].endswith("Text.")


# --- titles ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "title"),
    [
        ("Intro.\n\n# The mill #\n\nText.", "The mill"),
        ("The mill\n========\n\nText.", "The mill"),
        ("The mill\n--------\n\nText.", "The mill"),
        ("## The mill\n\nText.\n\n## Another", "The mill"),
        ("% The mill\n% A. Miller\n\nText.", "The mill"),
        ("Title: The mill\nAuthor: A. Miller\n\nText.", "The mill"),
        ("```sh\n# install first\n```\n\n# The mill", "The mill"),
        ("````\n```\n# one\n```\n# two\n````\n\nThe mill\n===", "The mill"),
        ("    # indented code\n\nText.", ""),
        ("- item\n---\n\n## Low", ""),
    ],
)
def test_the_title_is_the_first_heading_outside_of_code(text, title):
    assert markdown(text)["title"] == title


# --- comments and hidden parts ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("part", "reason"),
    [
        ("<!-- the wheel is cracked -->", "comments"),
        ("<!-- the wheel\n\n```\nis\n\n-->", "comments"),
        ("[//]: # (the wheel is cracked)", "comments"),
        ("[//]: # (the wheel\nis cracked)", "comments"),
        ("[//]: # the wheel is cracked", "comments"),
        ("[comment]: <> (the wheel is cracked)", "comments"),
        ('[_wheel]: # "the wheel is cracked"', "comments"),
        ("%%the wheel is cracked%%", "comments"),
        ("%%\nthe wheel\n\nis cracked\n%%", "comments"),
        ("<div hidden>\n\n<div>the wheel</div> is\n\ncracked</div>", "hidden text"),
        ('<p style="color:red; display: none">the wheel is cracked</p>', "hidden text"),
        ("<script>\nwheel = 'cracked'\n</script>", "hidden text"),
        ("<style>\n.wheel {}\n</style>", "hidden text"),
    ],
)
def test_what_is_not_shown_is_left_out_and_counted(part, reason):
    parsed = markdown(f"# The mill\n\n{part}\n\n{MILL}")
    assert parsed["text"] == f"# The mill\n\n{MILL}"
    assert parsed["left_out"] == {reason: count_characters(part)}


@pytest.mark.parametrize(
    "part",
    [
        "```html\n<!-- comment -->\n<div hidden>x</div>\n```",
        "~~~\n```\n<!-- comment -->\n~~~",
        "Write `<!-- a comment -->` and ``<div hidden>`</div>``.",
        "An arrow <!-- that is never closed",
        "<div hidden> that is never closed",
        '<input hidden> and <p class="hidden">text</p>',
        "From 50%% to 60%% of it; 5 %% 6",
        '[mill]: https://example.org "The mill"',
        "[mill]: # and more",
        "<details><summary>More</summary>text</details>",
    ],
)
def test_what_is_shown_is_kept(part):
    assert markdown(f"{part}\n\n{MILL}")["text"] == f"{part}\n\n{MILL}"


def test_hostile_markdown_is_read_at_once():
    for piece in (
        "<!--",
        "<p hidden>",
        "`",
        "` `` ``` ",
        "%% a",
        "<a ",
        "[a]: # ",
        "1) ",
        "a\n=\n",
        "<!--\n```a\n-->\n",
    ):
        try:
            parse_markdown(piece * (200_000 // len(piece)))
        except Unreadable:
            pass


def test_comments_of_restructured_text_are_left_out_and_directives_kept():
    kept = (
        "The mill\n========\n\n.. note:: The wheel turns.\n\n.. _target:\n\n.. [1] A footnote.\n\n.. |x| replace:: y\n\n"
        ".. code-block:: rst\n\n   .. an example of a comment\n\nThe end."
    )
    comment = ".. The owner must not\n   see this.\n\n..\n   Nor\n\n   this.\n\n"
    parsed = read_rst((kept.replace("The end", comment + "The end")).encode())
    assert "must not" not in parsed["text"] and "Nor" not in parsed["text"]
    for line in filter(None, kept.split("\n")):
        assert line in parsed["text"]
    assert parsed["title"] == "The mill"
    assert parsed["left_out"] == {"comments": count_characters(comment)}
    assert lost(parsed) == 0


def test_front_matter_in_a_file(tmp_path):
    (tmp_path / "a.md").write_bytes(b"\xef\xbb\xbf---\r\ntitle: Otters\r\n---\r\nThey swim.\r\n")
    (document,) = read_items([tmp_path])
    assert (document["title"], document["text"]) == ("Otters", "They swim.")
