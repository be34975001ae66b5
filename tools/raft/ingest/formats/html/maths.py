"""Write formulas as text, once each: TeX between dollar signs if the page has it, else a line such as x^2.

A page may hold one formula in up to four forms: as MathML, as TeX in an annotation or a script, as a picture
with the TeX as its alternative text, and laid out in boxes.
"""

from __future__ import annotations

import re

from bs4 import BeautifulSoup, Tag

from .tree import attribute, elements, has_class, live, parse_tree, word_set, write

# What KaTeX, MathJax 3, MediaWiki and pandoc put around the forms of one formula, the outermost first.
_CONTAINERS = word_set("katex-display katex mwe-math-element math")
# What MathJax 2 lays out before the script that holds the formula.
_LAID_OUT = word_set("MathJax MathJax_Display MathJax_Preview MathJax_SVG MathJax_CHTML MathJax_SVG_Display")
_PICTURES = re.compile(r"\b(?:latex|tex|math|mathtex)\b|math-fallback-image")
_MATHML = re.compile(r"^(?:\w+:)?math$")
_RELATIONS = frozenset("=<>≤≥≠≈≡∼≅∝→←↔↦⇒⇔∈∉⊂⊆∪∩∧∨")
_SIGNS = frozenset("+−-±∓·×÷⋅∗*")
_APPLIED = "\u2061"  # function application
_INVISIBLE = re.compile("[\u2062-\u2064\u200b]")  # invisible times and the like


def write_formulas(soup: BeautifulSoup) -> list[str]:
    """Replace every formula by its text; return a note if some stand in the page as drawings only."""
    for script in live(soup.find_all("script", type=re.compile("^math/"))):
        _drop_laid_out(script)
        _replace(script, _from_script(script))
    drawn = 0
    for tag in live([tag for tag in elements(soup) if _is_formula(tag)]):
        text = _formula(tag)
        if (
            not text
            and (tag.name != "img")
            and (tag.name == "mjx-container" or tag.find(class_="katex-html"))
        ):
            drawn += 1
            text = tag.get_text()
        if text:
            _replace(tag, text)
    if not drawn:
        return []
    return [f"{drawn} formulas that the page holds as drawings only: compare them with the page itself"]


def _is_formula(tag: Tag) -> bool:
    if tag.name == "img":
        return _PICTURES.search(attribute(tag, "class")) is not None
    return tag.name == "mjx-container" or _MATHML.search(tag.name) is not None or has_class(tag, _CONTAINERS)


def _replace(tag: Tag, text: str) -> None:
    write(tag, text, "div" if text.startswith("$$") else "span")


def _drop_laid_out(script: Tag) -> None:
    for sibling in list(script.previous_siblings):
        if isinstance(sibling, Tag) and has_class(sibling, _LAID_OUT):
            sibling.decompose()
        elif isinstance(sibling, Tag) or str(sibling).strip():
            break


def _from_script(script: Tag) -> str:
    kind = attribute(script, "type")
    if "mml" in kind:
        math = parse_tree(script.get_text()).find(_MATHML)
        return _formula(math) if isinstance(math, Tag) else ""
    return _tex(script.get_text(), display="display" in kind)


def _formula(tag: Tag) -> str:
    """Return the text of the formula that an element holds, empty if the element is no formula."""
    math = tag if _MATHML.fullmatch(tag.name) else tag.find(_MATHML)
    classes = attribute(tag, "class")
    display = re.search(r"\b(?:display|block)\b", f"{classes} {attribute(tag, 'display')}", re.I) is not None
    if tex := attribute(tag, "data-latex"):
        return _tex(tex, display=display)
    if isinstance(math, Tag):
        display = display or attribute(math, "display") == "block"
        for annotation in math.find_all("annotation"):
            if "tex" in attribute(annotation, "encoding"):
                return _tex(annotation.get_text(), display=display)
        if re.search(r"[\\^_{]", attribute(math, "alttext")):
            return _tex(attribute(math, "alttext"), display=display)
        return " ".join(linear(math).split())
    image = tag if tag.name == "img" else tag.find("img", alt=True)
    if isinstance(image, Tag):
        return _tex(attribute(image, "alt"), display=display)
    if "math" in classes.split() and tag.find(True) is None:  # pandoc's TeX
        return _tex(tag.get_text(), display=display)
    return ""


def _tex(tex: str, *, display: bool) -> str:
    """Return TeX between dollar signs, without what only sets its size."""
    tex = " ".join(re.sub(r"%?\s*(?:<!\[CDATA\[|\]\]>)", "", tex).split())
    tex = re.sub(r"^(?:\\\(|\\\[|\$\$?)|(?:\\\)|\\\]|(?<!\\)\$\$?)$", "", tex).strip()
    if sized := re.fullmatch(r"\{\\(?:display|text|script)style\b\s*(.*)\}", tex):
        tex = sized.group(1).strip()
    if not tex:
        return ""
    return f"$${tex}$$" if display else f"${tex}$"


def linear(node: Tag) -> str:
    """Write presentational MathML in one line: x^2, (a + b)/c, sqrt(x), x_i, [a, b; c, d]."""
    name = node.name.rsplit(":", 1)[-1]
    children = [child for child in node.children if isinstance(child, Tag)]
    parts = [linear(child) for child in children]
    if name in _STRUCTURES:
        return _write_structure(name, parts)
    if name in ("annotation", "annotation-xml", "mphantom"):
        return ""
    if name == "semantics":
        return parts[0] if parts else ""
    if children:
        return "".join(parts)
    return " " if name == "mspace" else _token(name, node)


def _token(name: str, node: Tag) -> str:
    """Return the text of a number, an identifier or an operator, with the blanks that it stands between."""
    text = node.get_text()
    if name == "mtext":
        return text
    text = _INVISIBLE.sub("", text.replace(_APPLIED, " ")).strip("\n\t\r") or ""
    if name != "mo":
        return text.strip()
    is_between = node.find_previous_sibling() is not None
    if text.strip() in _RELATIONS or (text.strip() in _SIGNS and is_between):
        return f" {text.strip()} "
    return f"{text} " if text == "," else text


def _whole(text: str) -> str:
    """Put an operand of more than one term in brackets."""
    text = text.strip()
    return text if re.fullmatch(r"\d+(?:[.,]\d+)?|\w|\([^()]*\)|[^\w\s]", text) else f"({text})"


def _scripts(base: str, low: str, high: str) -> str:
    base = base.strip()
    low = f"_{_whole(low)}" if low.strip() else ""
    high = f"^{_whole(high)}" if high.strip() else ""
    return base + low + high + " " * (base in ("∑", "∏", "∫", "lim", "max", "min"))


def _write_structure(name: str, parts: list[str]) -> str:
    first, second, third = (*parts, "", "", "")[:3]
    if name == "mfrac":
        return f"{_whole(first)}/{_whole(second)}"
    if name == "msqrt":
        return f"sqrt({''.join(parts).strip()})"
    if name == "mroot":
        return f"root({second.strip()}, {first.strip()})"
    if name == "mover" and not any(map(str.isalnum, second)):  # an accent
        return first.strip() + second.strip()
    if name in ("msup", "mover"):
        return _scripts(first, "", second)
    if name in ("msub", "munder"):
        return _scripts(first, second, "")
    if name in ("msubsup", "munderover"):
        return _scripts(first, second, third)
    if name == "mtable":
        return f"[{'; '.join(parts)}]"
    return f"({', '.join(parts)})" if name == "mfenced" else ", ".join(parts)


_STRUCTURES = word_set("mfrac msqrt mroot msup mover msub munder msubsup munderover mtable mtr mfenced")
