"""Read RTF (Microsoft's specification 1.9.1) through HTML, which markup.py converts."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path

from ...html.markup import parse_markup
from ...parsed import Parsed, Unreadable, count_characters, make_parsed
from ..drawings import unread_object
from ..number_mark import place_numbers
from ..page_numbers import PAGE_NUMBER, without_page_numbers
from ..word.symbols import write_in_font
from .stream import Stream
from .tables import CellFormat
from .tokens import SYMBOL_CHARSET, Token, codec_of_charset, codec_of_page, read_tokens
from .words import CHARACTERS, IN_FORMULAS, KNOWN, MARGINS, NO_TEXT, SYMBOLS

_MAX_DEPTH = 2000


def read_rtf(path: str) -> Parsed:
    """Read an RTF file: all that its pages show, no pictures.

    What is seen are the characters of all groups that hold text: those that the specification calls
    destinations for other things are none of it. Raises Unreadable if it is broken.
    """
    data = Path(path).read_bytes()
    if not data.lstrip().startswith(b"{\\rtf"):
        raise Unreadable("broken: no RTF")
    reader = _Reader()
    for token in read_tokens(data):
        reader.take(token)
    return reader.finish()


@dataclass
class _State:
    """What holds up to the end of a group."""

    stream: Stream
    name: str = ""  # of the destination, if it is read in a way of its own
    skipped: bool = False
    reason: str = ""  # why its text is left out
    hidden: bool = False
    deleted: bool = False
    raised: str = ""  # "sup", "sub" or nothing
    font: int | None = None
    fallback: int = 1  # how many characters after one in Unicode stand for it


@dataclass
class _Paragraph:
    """What \\pard resets."""

    in_table: bool = False
    level: int = 0  # of a heading
    depth: int = 0  # in a list


class _Reader:
    def __init__(self) -> None:
        self._body = Stream()
        self._state = _State(self._body)
        self._stack: list[_State] = []
        self._paragraph = _Paragraph()
        self._ansi = "cp1252"
        self._fonts: dict[int | None, tuple[str, int | None, str]] = {}  # codec, character set and name
        self._styles: dict[int | None, int] = {}  # style → level of heading
        self._defined: int | None = None  # the font or style being defined
        self._definition = ""
        self._formats: list[CellFormat] = []
        self._goes_on = self._goes_down = False  # the cell whose format comes next
        self._default_font: int | None = None
        self._bytes = b""
        self._units = b""  # of UTF-16
        self._to_skip = 0  # characters that stand for the one before them
        self._opened = self._starred = False  # the last tokens were "{", "\\*"
        self._code = ""  # of a field
        self._title = ""
        self._seen = 0
        self._left_out: Counter[str] = Counter()
        self._notes: list[str] = []
        self._reports: list[str] = []
        self._margins: dict[str, dict[str, None]] = {"header": {}, "footer": {}}

    def finish(self) -> Parsed:
        """Return what was read."""
        self._flush()
        self._end_paragraph()
        heads, feet = ("".join(self._margins[kind]) for kind in ("header", "footer"))
        parsed = parse_markup(heads + self._body.html() + "".join(self._notes) + feet)
        self._left_out.update(parsed["left_out"])
        return make_parsed(
            place_numbers(parsed["text"]),
            title=self._title.strip() or place_numbers(parsed["title"]),
            notes=list(dict.fromkeys(self._reports)),
            left_out=self._left_out,
            seen=self._seen,
        )

    # --- tokens ---

    def take(self, token: Token) -> None:
        """Take the next token of the file."""
        if token.kind in ("text", "byte"):
            skipped = min(self._to_skip, len(token.data))
            self._to_skip -= skipped
            self._opened = False
            if data := token.data[skipped:]:
                self._flush_units()
                self._bytes += data
            return
        if token.name != "u":
            self._flush()
        if token.kind == "{":
            if len(self._stack) >= _MAX_DEPTH:
                raise Unreadable("nested too deeply to parse")
            self._stack.append(self._state)
            self._state = replace(self._state)
            self._opened, self._starred, self._to_skip = True, False, 0
        elif token.kind == "}":
            self._end_group()
        elif token.kind == "symbol" and token.name == "*":
            self._starred = True
        elif self._to_skip:
            self._to_skip -= 1
        elif token.kind == "symbol":
            self._emit(SYMBOLS.get(token.name, ""))
        else:
            self._take_word(token.name, token.number)
            self._opened = self._starred = False

    def _flush(self) -> None:
        self._flush_bytes()
        self._flush_units()

    def _flush_bytes(self) -> None:
        if self._bytes:
            data, self._bytes = self._bytes, b""
            codec, charset, name = self._fonts.get(self._state.font, (self._ansi, None, ""))
            if charset == SYMBOL_CHARSET:
                self._emit(write_in_font("".join(chr(0xF000 + byte) for byte in data), name))
            else:
                self._emit(data.decode(codec or self._ansi, "replace"))

    def _flush_units(self) -> None:
        if self._units:
            units, self._units = self._units, b""
            font = self._fonts.get(self._state.font, ("", None, ""))[2]
            self._emit(write_in_font(units.decode("utf-16-le", "replace"), font))

    def _emit(self, text: str) -> None:
        """Add text where the group wants it."""
        state = self._state
        if state.name in ("fonttbl", "stylesheet"):
            self._define(text)
        elif state.name == "title":
            self._title += text
        elif state.name == "fldinst":
            self._code += text
        elif state.name == "label":
            state.stream.label += text
        elif not state.skipped:
            count = count_characters(text)
            self._seen += count
            reason = state.reason or (state.deleted and "deleted text") or (state.hidden and "hidden text")
            if reason:
                self._left_out[reason] += count
            else:
                state.stream.add(text, state.raised)

    def _end_group(self) -> None:
        ended = self._state
        if not self._stack:
            return
        if ended.stream is not self._stack[-1].stream:
            self._end_paragraph()
            self._place(ended.stream, ended.name, self._stack[-1].stream)
        self._state = self._stack.pop()
        if ended.name == "stylesheet" and self._state.name == "stylesheet":
            self._define(";")
        if ended.name == "fldinst" and self._state.name != "fldinst" and self._shows_page():
            self._emit(PAGE_NUMBER)
        self._opened, self._to_skip = False, 0

    def _place(self, stream: Stream, name: str, parent: Stream) -> None:
        """Put a text that has ended in its place."""
        html = stream.html()
        if name == "box":
            parent.boxes.append(html)
        elif name == "note":
            self._notes[stream.number - 1] = html.replace("<p>", f"<p>[{stream.number}] ", 1)
        elif html:
            self._margins[name][html] = None

    # --- control words ---

    def _take_word(self, word: str, number: int | None) -> None:
        if self._opened and self._open(word):
            return
        if word == "u":
            self._take_unicode(number or 0)
        elif word in CHARACTERS:
            self._emit(CHARACTERS[word])
        elif self._state.name in ("fonttbl", "stylesheet"):
            self._take_definition(word, number)
        else:
            self._apply(word, number)

    def _apply(self, word: str, number: int | None) -> None:
        """Follow a control word that changes the text after it."""
        state, paragraph = self._state, self._paragraph
        match word:
            case "par" | "sect" | "page" | "column":
                self._end_paragraph()
            case "pard":
                self._paragraph = _Paragraph()
            case "intbl":
                paragraph.in_table = True
            case "s":
                paragraph.level = self._styles.get(number, 0)
            case "outlinelevel":
                paragraph.level = number + 1 if number is not None and 0 <= number < 9 else 0
            case "ilvl":
                paragraph.depth = min(max(number or 0, 0), 8)
            case "trowd":
                self._formats, self._goes_on, self._goes_down = [], False, False
            case "clmrg":
                self._goes_on = True
            case "clvmrg":
                self._goes_down = True
            case "cellx":
                self._formats.append(CellFormat(number or 0, self._goes_on, self._goes_down))
                self._goes_on = self._goes_down = False
            case "cell":
                self._end_paragraph(in_table=True)
                state.stream.end_cell()
            case "nestcell" | "nestrow":
                self._end_paragraph(in_table=True)
            case "row":
                state.stream.end_row(self._formats)
            case "plain":
                state.hidden, state.deleted, state.raised, state.font = False, False, "", self._default_font
            case "v":
                state.hidden = number != 0
            case "deleted":
                state.deleted = number != 0
            case "super" | "sub":
                state.raised = "" if number == 0 else word.replace("super", "sup")
            case "up" | "dn":
                state.raised = "" if number == 0 else "sup" if word == "up" else "sub"
            case "nosupersub":
                state.raised = ""
            case "f":
                state.font = number
            case "deff":
                self._default_font = state.font = number
            case "uc":
                state.fallback = min(max(number or 0, 0), 100)
            case "ansicpg":
                self._ansi = codec_of_page(number, self._ansi)
            case "mac" | "pc" | "pca":
                self._ansi = {"mac": "mac_roman", "pc": "cp437", "pca": "cp850"}[word]
            case "objemb" | "objlink":
                self._reports.append(unread_object())

    def _open(self, word: str) -> bool:
        """Begin the destination that a group is, if it is one."""
        state = self._state
        if word in MARGINS:
            state.stream, state.name = Stream(at_margin=True), MARGINS[word]
        elif word == "footnote":
            self._notes.append("")
            state.stream.add(f"[{len(self._notes)}]")
            state.stream, state.name = Stream(number=len(self._notes)), "note"
        elif word in ("shptxt", "dptxbxtext"):
            state.stream, state.name = Stream(), "box"
        elif word in ("listtext", "pntext"):
            state.name = "label"
        elif word == "annotation":
            state.reason = "comments"
        elif word in ("fonttbl", "stylesheet", "info", "upr", "fldinst"):
            state.name, state.skipped = word, True
            self._code = "" if word == "fldinst" else self._code
        elif word == "title" and state.name == "info":
            state.name = "title"
        elif word == "ud":
            state.skipped = False
        elif word == "fldrslt" and self._shows_page():
            state.reason = "running heads and page numbers"
        elif word in IN_FORMULAS:
            self._emit(IN_FORMULAS[word])
        elif (
            word in NO_TEXT
            or (word.startswith("m") and word.endswith("Pr"))
            or (self._starred and word not in KNOWN)
        ):
            state.name, state.skipped = "", True
        else:
            return False
        return True

    def _shows_page(self) -> bool:
        return self._code.split()[:1] in (["PAGE"], ["NUMPAGES"], ["SECTIONPAGES"])

    def _take_unicode(self, number: int) -> None:
        self._flush_bytes()
        self._units += (number % 65536).to_bytes(2, "little")
        self._to_skip = self._state.fallback

    def _take_definition(self, word: str, number: int | None) -> None:
        """Take a word that defines a font or a style."""
        if word in ("f", "s"):
            self._defined, self._definition = number, ""
            if word == "f":
                self._fonts[number] = ("", None, "")
        elif word in ("fcharset", "cpg") and self._defined in self._fonts:
            codec, charset, name = self._fonts[self._defined]
            if word == "cpg":
                codec = codec_of_page(number, codec)
            else:
                codec, charset = codec_of_charset(number) or codec, number
            self._fonts[self._defined] = (codec, charset, name)
        elif word == "outlinelevel" and number is not None and 0 <= number < 9:
            self._styles[self._defined] = number + 1

    def _define(self, text: str) -> None:
        """Take the name of a font or a style, which ends with a semicolon."""
        self._definition += text
        if ";" not in text:
            return
        name = self._definition.partition(";")[0].strip()
        self._definition = ""
        if self._state.name == "fonttbl" and self._defined in self._fonts:
            self._fonts[self._defined] = (*self._fonts[self._defined][:2], name)
        elif level := _level_of_style(name):
            self._styles.setdefault(self._defined, level)

    # --- paragraphs ---

    def _end_paragraph(self, in_table: bool = False) -> None:
        stream, paragraph = self._state.stream, self._paragraph
        text = "".join(stream.texts)
        label = stream.end_paragraph(
            in_table=in_table or paragraph.in_table, level=paragraph.level, depth=paragraph.depth
        )
        self._seen += count_characters(label)
        if stream.at_margin and PAGE_NUMBER in text:
            dropped = count_characters(text) - count_characters(without_page_numbers(text))
            self._left_out["running heads and page numbers"] += dropped


def _level_of_style(name: str) -> int:
    kind, _, level = name.lower().partition(" ")
    if kind == "heading" and level in "123456789":
        return int(level or 0)
    return {"title": 1, "subtitle": 2}.get(name.lower(), 0)
