"""Write the symbols of Word as characters: hyphens, and the letters of symbol fonts."""

from __future__ import annotations

from typing import Any

from ..ooxml import make, tag

# Code points of the fonts, as their makers document them; a sign that is in no table stays what it is.
_SYMBOL = dict(
    zip(
        range(0x41, 0x5B),
        "ΑΒΧΔΕΦΓΗΙϑΚΛΜΝΟΠΘΡΣΤΥςΩΞΨΖ",
        strict=True,
    )
)
_SYMBOL |= dict(zip(range(0x61, 0x7B), "αβχδεφγηιϕκλμνοπθρστυϖωξψζ", strict=True))
_SYMBOL |= {
    0x22: "∀", 0x24: "∃", 0x27: "∋", 0x2D: "−", 0x40: "≅", 0x5C: "∴", 0x5E: "⊥", 0xA2: "′", 0xA3: "≤",
    0xA5: "∞", 0xAB: "↔", 0xAC: "←", 0xAD: "↑", 0xAE: "→", 0xAF: "↓", 0xB0: "°", 0xB1: "±", 0xB2: "″",
    0xB3: "≥", 0xB4: "×", 0xB5: "∝", 0xB6: "∂", 0xB7: "•", 0xB8: "÷", 0xB9: "≠", 0xBA: "≡", 0xBB: "≈",
    0xBC: "…", 0xC4: "⊗", 0xC5: "⊕", 0xC6: "∅", 0xC7: "∩", 0xC8: "∪", 0xC9: "⊃", 0xCA: "⊇", 0xCB: "⊄",
    0xCC: "⊂", 0xCD: "⊆", 0xCE: "∈", 0xCF: "∉", 0xD0: "∠", 0xD1: "∇", 0xD2: "®", 0xD3: "©", 0xD4: "™",
    0xD5: "∏", 0xD6: "√", 0xD7: "⋅", 0xD8: "¬", 0xD9: "∧", 0xDA: "∨", 0xDB: "⇔", 0xDC: "⇐", 0xDD: "⇑",
    0xDE: "⇒", 0xDF: "⇓", 0xE5: "∑", 0xF2: "∫",
}  # fmt: skip
_WINGDINGS = {
    0x22: "✂", 0x28: "☎", 0x2A: "✉", 0x4A: "☺", 0x4C: "☹", 0x6C: "●", 0x6E: "■", 0x6F: "□", 0x71: "❑",
    0x75: "◆", 0x76: "❖", 0x9F: "•", 0xA7: "▪", 0xA8: "☐", 0xD8: "➢", 0xDF: "←", 0xE0: "→", 0xE1: "↑",
    0xE2: "↓", 0xE8: "➔", 0xFB: "✗", 0xFC: "✓", 0xFD: "☒", 0xFE: "☑",
}  # fmt: skip
_WINGDINGS_2 = {0x4F: "✗", 0x50: "✓", 0x51: "☒", 0x52: "☑", 0xA3: "☐"}
_FONTS = {"symbol": _SYMBOL, "wingdings": _WINGDINGS, "wingdings 2": _WINGDINGS_2}
_HYPHENS = {tag("w:noBreakHyphen"): "‑", tag("w:softHyphen"): ""}
_BLANKS = {tag("w:ptab"): "tab", tag("w:cr"): "br"}  # other names of a tab and a line break


def write_symbols(run: Any, font: str | None) -> None:
    """Replace the symbols, hyphens and blanks of a run that pandoc does not know. font: that of its text."""
    for element in list(run):
        if element.tag == tag("w:sym"):
            code = element.get(tag("w:char")) or ""
            shown = _character(int(code, 16), element.get(tag("w:font"))) if _is_code(code) else ""
        elif element.tag in _BLANKS:
            run.replace(element, make(_BLANKS[element.tag]))
            continue
        elif element.tag in _HYPHENS:
            shown = _HYPHENS[element.tag]
        else:
            if element.tag == tag("w:t") and element.text:
                element.text = write_in_font(element.text, font)
            continue
        text = make("t")
        text.text = shown
        run.replace(element, text)


def write_in_font(text: str, font: str | None) -> str:
    """Replace the characters of a text that a symbol font shows as others; they stand at U+F020 to U+F0FF."""
    if (font or "").lower() not in _FONTS:
        return text
    return "".join(_character(ord(char), font) if 0xF020 <= ord(char) <= 0xF0FF else char for char in text)


def _is_code(code: str) -> bool:
    return 0 < len(code) <= 5 and all(digit in "0123456789abcdefABCDEF" for digit in code)


def _character(code: int, font: str | None) -> str:
    table = _FONTS.get((font or "").lower())
    if table is None:
        return chr(code) if code >= 0x20 and not 0xD800 <= code <= 0xDFFF and code < 0xFFFE else ""
    return table.get(code & 0xFF, chr(code) if code >= 0x20 else "")
