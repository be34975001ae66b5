"""The control words of RTF that stand for text, and those that begin a group of their own."""

from __future__ import annotations

from ..page_numbers import PAGE_NUMBER

CHARACTERS = {
    "line": "\n", "tab": "\t", "emdash": "—", "endash": "–", "emspace": " ", "enspace": " ", "qmspace": " ",
    "bullet": "•", "lquote": "‘", "rquote": "’", "ldblquote": "“", "rdblquote": "”", "chpgn": PAGE_NUMBER,
    "sectnum": "", "zwj": "\u200d", "zwnj": "\u200c", "lbr": "\n", "softline": "\n",
}  # fmt: skip
SYMBOLS = {"~": "\xa0", "_": "‑", "-": "", "\\": "\\", "{": "{", "}": "}", "\t": "\t", "\n": "", "\r": ""}
# Groups whose text is text of the document, though programs that do not know them skip them.
KNOWN = {"shpinst", "shptxt", "moMath", "moMathPara", "mmath", "annotation", "footnote", "dptxbxtext", "do"}
NO_TEXT = {
    "colortbl", "pict", "objdata", "objclass", "objname", "sp", "shprslt", "nonesttables",
    "nesttableprops", "datafield", "listtable", "listoverridetable", "revtbl", "rsidtbl", "generator",
    "themedata", "colorschememapping", "xe", "tc", "latentstyles", "datastore", "mmathPict",
    "bkmkstart", "bkmkend", "fldinst", "pn", "atnid", "atnauthor", "atndate", "filetbl", "ftnsep",
    "ftnsepc", "ftncn", "aftnsep", "aftnsepc", "aftncn", "formfield", "userprops", "template",
}  # fmt: skip
MARGINS = {
    "header": "header", "headerl": "header", "headerr": "header", "headerf": "header",
    "footer": "footer", "footerl": "footer", "footerr": "footer", "footerf": "footer",
}  # fmt: skip
IN_FORMULAS = {"mden": "/", "msup": "^", "msub": "_"}
