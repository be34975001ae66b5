"""Take front matter off Markdown: the fields that site generators read, in YAML, TOML or JSON."""

from __future__ import annotations

import json
import re

# A line of dashes with a blank line below it is a rule (as in pandoc).
_YAML = re.compile(r"---[ \t]*\n(?=[ \t]*\S)(.*?)^(?:---|\.\.\.)[ \t]*(?:\n|\Z)", re.DOTALL | re.MULTILINE)
_TOML = re.compile(r"\+\+\+[ \t]*\n(.*?)^\+\+\+[ \t]*(?:\n|\Z)", re.DOTALL | re.MULTILINE)
_TOML_FIRST = re.compile(r"""(?:[ \t]*(?:#.*)?\n)*[ \t]*(?:\[|["'\w.-]+[ \t]*=)""")
_TOML_TITLE = re.compile(r"""^title[ \t]*=[ \t]*("(?:[^"\\\n]|\\.)*"|'[^'\n]*')""", re.MULTILINE)
# A field of a broken block, such as one with a second colon in its value.
_YAML_LINE = re.compile(r"(?:#.*|[ \t\]})-].*|[A-Za-z_][\w.-]*:(?:[ \t].*)?)?$")
_YAML_TITLE = re.compile(r"^title:[ \t]*(['\"]?)(.+?)\1[ \t]*$", re.MULTILINE | re.IGNORECASE)
_KNOWN = {
    "author",
    "authors",
    "categories",
    "date",
    "description",
    "draft",
    "lang",
    "layout",
    "tags",
    "title",
}
_MAX_CHARS = 32_768
_MAX_BRACKETS = 1000  # nested ones take the parser of YAML quadratic time


def take_front_matter(text: str) -> tuple[str, str]:
    """Return the front matter at the start of a text, "" if it has none, and the title that it names.

    Only a block of fields counts: other text between two rules is text.
    """
    head = text[:_MAX_CHARS]
    if (match := _YAML.match(head)) and (fields := _yaml_fields(match[1])) is not None:
        return match[0], " ".join(fields.get("title", "").split())
    if (match := _TOML.match(head)) and _TOML_FIRST.match(match[1]):
        return match[0], _toml_title(match[1])
    if head.startswith("{"):
        return _take_json(head)
    return "", ""


def _yaml_fields(block: str) -> dict[str, str] | None:
    """Return the fields of a YAML block that have plain values, or None if it is not made of fields."""
    import yaml

    try:
        if block.count("[") + block.count("{") > _MAX_BRACKETS:
            return None
        # Composed only: constructing values expands aliases, and a small block may have billions.
        node = yaml.compose(block, Loader=yaml.SafeLoader)
    except (yaml.YAMLError, RecursionError, ValueError):
        lines = block.strip().split("\n")
        title = _YAML_TITLE.search(block)
        if title and all(map(_YAML_LINE.match, lines)):
            return {"title": title[2]}
        return None
    if not isinstance(node, yaml.MappingNode):
        return None
    fields = {
        key.value: value.value
        if isinstance(value, yaml.ScalarNode) and not value.tag.endswith(":null")
        else ""
        for key, value in node.value
        if isinstance(key, yaml.ScalarNode)
    }
    # "Note: ..." between two rules is a sentence; names of fields are small words without blanks.
    named = len(fields) == len(node.value) and all(re.fullmatch(r"[a-z_][\w.-]*", key) for key in fields)
    fields = {key.casefold(): value for key, value in fields.items()}
    return fields if named or _KNOWN & fields.keys() else None


def _toml_title(block: str) -> str:
    match = _TOML_TITLE.search(block)
    if not match:
        return ""
    try:
        return str(json.loads(match[1]))  # a basic string has the escapes of JSON
    except ValueError:
        return match[1][1:-1]


def _take_json(head: str) -> tuple[str, str]:
    try:
        fields, end = json.JSONDecoder().raw_decode(head)
    except (ValueError, RecursionError):
        return "", ""
    if not (_KNOWN & {key.casefold() for key in fields} and head[end:].lstrip(" \t").startswith("\n")):
        return "", ""
    return head[:end], str(fields.get("title", ""))
