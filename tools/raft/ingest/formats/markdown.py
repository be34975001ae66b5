"""Read Markdown: without front matter, comments and hidden parts, and otherwise unchanged."""

from __future__ import annotations

import re
from collections.abc import Iterator

from ...text.fences import OPENING, end_of_block, fenced_blocks
from ...text.sanitize import unify_line_ends
from .front_matter import take_front_matter
from .parsed import Parsed, count_characters, make_parsed
from .plain import decode, remove_codes

# Where code or a part that is not shown may begin. Comments: of HTML; a link to nowhere, as in
# [//]: # (...) and [comment]: <> "..."; of Obsidian, %% in a line or in lines of their own.
_START = re.compile(
    rf"""(?P<code>{OPENING})
    |(?P<ticks>`+)
    |(?P<html><!--)
    |(?P<link>^[ ]{{0,3}}\[[^\]\n]{{1,80}}\]:[ \t]*(?:\#|<>|<\#>)[ \t]+
        (?:\((?:[^()\n]|\n(?![ \t]*\n)){{0,2000}}\)|"[^"\n]*"|'[^'\n]*')[ \t]*$
        |^[ ]{{0,3}}\[//\]:[ \t]*\#.*$)
    |(?P<percent>(?<!\S)%%[^%\n]+%%|^%%[ \t]*\n(?:(?!%%[ \t]*$).*\n)*?%%[ \t]*$)
    |<(?P<tag>[a-z][a-z0-9-]{{0,30}})\b(?P<attributes>[^<>]{{0,1000}})>""",
    re.MULTILINE | re.IGNORECASE | re.VERBOSE,
)
_CODE_SPAN = 2000  # characters; a longer one is taken for stray backticks
_UNSEEN = {"script", "style", "template"}
_HIDDEN = re.compile(
    r"""\shidden(?=[\s=/]|$)(?!\s*=\s*["']?until-found)"""
    r"""|\sstyle\s*=\s*["'][^"']*(?:display\s*:\s*none|visibility\s*:\s*hidden)""",
    re.IGNORECASE,
)
_BLANK_LINES = re.compile(r"(?:[ \t]*\n)*")

_TITLE = re.compile(
    r"^ {0,3}#[ \t]+(?P<atx>.+?)[ \t]*#*[ \t]*$|^ {0,3}(?![-*+>|=][ \t])(?P<setext>\S.*)\n {0,3}=+[ \t]*$",
    re.MULTILINE,
)
# A lower heading, or the title line of pandoc (% ...) or MultiMarkdown, that begins the text.
_FIRST_LINE = re.compile(
    r"#{2,6}[ \t]+(.+?)[ \t]*#*[ \t]*(?:\n|\Z)|(?:%|title:)[ \t]+(.+)"
    r"|(?![-*+>|=][ \t])(\S.*)\n-{3,}[ \t]*(?:\n|\Z)",
    re.IGNORECASE,
)


def read_markdown(data: bytes) -> Parsed:
    """Read Markdown. Raises Unreadable if it cannot be decoded, or is no text that people read."""
    return parse_markdown(unify_line_ends(decode(data)))


def parse_markdown(source: str) -> Parsed:
    """Return the text of Markdown as it stands, without the parts that are not shown, and its title."""
    text, left_out = remove_codes(_trim(source))
    front_matter, title = take_front_matter(text)
    left_out["front matter"] = count_characters(front_matter)
    text = _trim(text[len(front_matter) :])
    kept, position, alone = [], 0, False
    for start, end, reason in _unseen_parts(text):
        kept.append(text[position:start])
        left_out[reason] = left_out.get(reason, 0) + count_characters(text[start:end])
        # A part below a blank line goes with the blank lines below it.
        alone = start == 0 or text.endswith("\n\n", 0, start) or (alone and start == position)
        position = _BLANK_LINES.match(text, end).end() if alone else end  # type: ignore[union-attr]
    text = _trim("".join([*kept, text[position:]]))
    title = title or _find_title(text)
    return make_parsed(text, title=title, left_out=left_out, seen=count_characters(source))


def _trim(text: str) -> str:
    """Return a text without the blank lines at its ends; blanks before its first word make that code."""
    return re.sub(r"\A(?:[ \t]*\n)+", "", text).rstrip()


def _unseen_parts(text: str) -> Iterator[tuple[int, int, str]]:
    """Yield the start, the end and the reason of each part that is not shown; code is left alone."""
    position, last_comment_end, closed = 0, text.rfind("-->"), True
    while match := _START.search(text, position):
        position, reason = match.end(), ""
        if match["code"]:
            position = end_of_block(text, match)
        elif ticks := match["ticks"]:
            position = _end_of_code_span(text, position, ticks)
        elif match["html"]:
            if position <= last_comment_end:
                position, reason = text.index("-->", position) + 3, "comments"
        elif match["link"] or match["percent"]:
            reason = "comments"
        elif closed and (match["tag"].casefold() in _UNSEEN or _HIDDEN.search(match["attributes"])):
            end = _end_of_element(text, match["tag"], position)
            if end:
                position, reason = end, "hidden text"
            closed = bool(end)  # searching the rest again for each open element would take for ever
        if reason:
            yield match.start(), position, reason


def _end_of_code_span(text: str, position: int, ticks: str) -> int:
    """Return the end of a code span whose opening backticks end at a position, or that if it has no end."""
    closing = re.compile(rf"(?<!`){ticks}(?!`)|\n[ \t]*\n").search(text, position, position + _CODE_SPAN)
    return closing.end() if closing and closing[0] == ticks else position


def _end_of_element(text: str, name: str, position: int) -> int:
    """Return the end of an element whose opening tag ends at a position, or 0 if it is never closed."""
    depth = 1
    for tag in re.compile(rf"<(/?){name}\b[^<>]*>", re.IGNORECASE).finditer(text, position):
        depth += -1 if tag[1] else 1
        if depth == 0:
            return tag.end()
    return 0


def _find_title(text: str) -> str:
    """Return the first heading of level one outside of code, else the line that begins the text as one."""
    prose, position = [], 0
    for start, end in fenced_blocks(text):
        prose.append(text[position:start])
        position = end
    match = _TITLE.search("\n".join([*prose, text[position:]]))
    if match:
        return match["atx"] or match["setext"]
    first = _FIRST_LINE.match(text)
    return next(filter(None, first.groups()), "") if first else ""
