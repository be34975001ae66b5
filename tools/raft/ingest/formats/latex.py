"""Read LaTeX through pandoc's HTML, which markup.py converts."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from .html.markup import parse_markup
from .html.page import web_encoding
from .pandoc import convert_to_html, place_notes
from .parsed import Parsed, Unreadable, count_characters, make_parsed, name_some
from .plain import decode

_INPUT_ENCODING = re.compile(rb"^[^%\n]*\\usepackage\[([\w-]+)\]\{inputenc\}", re.M)
# Names of the package inputenc that the web does not have.
_ENCODINGS = {"ansinew": "cp1252", "applemac": "macintosh", "latin9": "iso-8859-15", "latin10": "iso-8859-16"}

# What pandoc would skip with all that is in it, or whose settings it would take for text. A file's own
# definitions come later, and win.
_DEFINITIONS = "".join(
    (
        r"\newcommand{\resizebox}[3]{#3}\newcommand{\scalebox}[2]{#2}\newcommand{\rotatebox}[3][]{#3}",
        r"\newcommand{\makebox}[2][]{#2}\newcommand{\framebox}[2][]{#2}\newcommand{\raisebox}[2]{#2}",
        r"\newcommand{\adjustbox}[2]{#2}\newcommand{\ce}[1]{#1}",
        r"\newenvironment{multicols}[1]{}{}\newenvironment{spacing}[1]{}{}\newenvironment{adjustwidth}[2]{}{}",
        r"\newenvironment{wrapfigure}[3][]{\begin{figure}}{\end{figure}}",
        r"\newenvironment{wraptable}[3][]{\begin{table}}{\end{table}}",
        r"\newenvironment{adjustbox}[1]{}{}\newenvironment{block}[1]{\paragraph{#1}}{}",
        r"\newcommand{\only}[1]{#1}\newcommand{\uncover}[1]{#1}\newcommand{\visible}[1]{#1}",
    )
)

# Rules below some columns, whose numbers would become a cell.
_RULE = re.compile(r"\\(?:cline|cmidrule)\s*(?:\[[^\]]*\])?\s*(?:\([^)]*\))?\s*\{[\d\s-]+\}")

# On which of its steps a slide shows what follows.
_OVERLAY = re.compile(r"(\\(?:only|uncover|visible|onslide|alert|item|pause|mode)\*?)\s*<[^<>{}\n]{1,20}>")

# A bibliography is a list whose marks are the keys that are cited.
_BIBLIOGRAPHY = re.compile(r"\\begin\{thebibliography\}\{[^{}]*\}|\\(end)\{thebibliography\}")
_ENTRY = re.compile(r"\\bibitem\s*(?:\[[^\]]*\]\s*)?\{([^{}]+)\}")
_CITATION = re.compile(r'<span class="citation" data-cites="([^"]*)"></span>')

_MESSAGE = re.compile(
    r"^\[(?:INFO|WARNING)\] (?:Skipped '(.*?)'|Could not load include file ([^\n]+?))"
    r" at (?:\S+ )?(line \d+ column \d+)$",
    re.M | re.S,
)
_DRAWING = re.compile(r"\\begin\{(?:tikz|pgf|circuitikz|forest|picture)")
_COMMAND = re.compile(r"\\(?:begin|end)\{[^{}]*\}|\\[A-Za-z@]+\*?")

# A command of a style that is not there shows its arguments if they are prose: several words, no settings.
_CALL = re.compile(r"\\([A-Za-z]+)((?:\[[^\]]*\])?)(\{.*\})", re.S)
_PROSE = re.compile(r"\w+[,;]?\s+\w+[,;]?\s+\w+")
_ASIDES = {"todo", "index", "comment", "fixme", "label", "hypersetup", "tikzset", "lstset", "definecolor"}


def read_latex(path: str) -> Parsed:
    """Read a LaTeX file: its text with macros expanded, tables, formulas as TeX, notes, and the keys cited.

    Files that it includes are named in a note, and not read with it. Raises Unreadable if it cannot be
    decoded.
    """
    source = _rewrite(_decode(Path(path).read_bytes()))
    converted = _convert(_DEFINITIONS + source)
    if more := _define_unknown(converted.skipped):
        with suppress(Unreadable, MemoryError):  # used with fewer arguments elsewhere
            converted = _convert(_DEFINITIONS + more + source)
    # The head has a title only where the document has one, which stands at the top of the body, too.
    body = converted.html.partition("<body>")[2]
    cited = _CITATION.sub(lambda match: f"[{', '.join(match[1].split())}]", place_notes(body))
    parsed = parse_markup(cited)
    left_out = _count_skipped(converted.skipped)
    missing = converted.missing
    notes = [f"files it includes are read on their own, where given: {name_some(missing)}"] if missing else []
    return make_parsed(
        parsed["text"],
        title=parsed["title"],
        notes=[*parsed["notes"], *notes],
        left_out=left_out + Counter(parsed["left_out"]),
        seen=parsed["seen"] + left_out.total(),
    )


class _Converted(NamedTuple):
    html: str
    skipped: list[str]  # commands with their arguments, in their order
    missing: list[str]  # files that it wanted to include


def _convert(source: str) -> _Converted:
    html, messages = convert_to_html(source.encode(), "latex", "--standalone", "--verbose")
    found = dict.fromkeys(_MESSAGE.findall(messages))  # some come twice
    skipped = [what for what, _, _ in found if what]
    files = dict.fromkeys(file for _, file, _ in found if file and not file.endswith((".sty", ".cls")))
    return _Converted(html, skipped, list(files))


def _define_unknown(skipped: Sequence[str]) -> str:
    """Return definitions by which the commands that pandoc skipped show what they say."""
    definitions = {}
    for what in skipped:
        call = _CALL.fullmatch(what)
        if call and call[1] not in _ASIDES and "=" not in call[3] and _PROSE.search(call[3]):
            first = 2 if call[2] else 1
            last = first + _count_groups(call[3])
            if last <= 10:  # TeX has nine arguments
                shown = " ".join(f"#{number}" for number in range(first, last))
                definitions[call[1]] = (
                    rf"\newcommand{{\{call[1]}}}[{last - 1}]{'[]' if call[2] else ''}{{{shown}}}"
                )
    return "".join(definitions.values())


def _count_groups(text: str) -> int:
    """Count the groups in braces that stand side by side."""
    depth = groups = 0
    for brace in re.findall(r"(?<!\\)[{}]", text):
        depth += 1 if brace == "{" else -1
        groups += depth == 0
    return groups


def _decode(data: bytes) -> str:
    declared = _INPUT_ENCODING.search(data)
    label = declared[1].decode().lower() if declared else ""
    return decode(data, web_encoding(_ENCODINGS.get(label, label)) if label else "")


def _rewrite(source: str) -> str:
    """Rewrite what pandoc reads wrong, line by line."""
    source = _OVERLAY.sub(r"\1", _RULE.sub("", source))
    source = _BIBLIOGRAPHY.sub(lambda match: rf"\{match[1] or 'begin'}{{itemize}}", source)
    return _ENTRY.sub(lambda match: rf"\item {{[}}{match[1]}{{]}}", source)


def _count_skipped(skipped: Sequence[str]) -> Counter[str]:
    """Return the characters of what pandoc skipped, by reason."""
    left_out: Counter[str] = Counter()
    for what in skipped:
        reason = "text in drawings" if _DRAWING.match(what) else "arguments of skipped commands"
        left_out[reason] += count_characters(_COMMAND.sub("", what))
    return left_out
