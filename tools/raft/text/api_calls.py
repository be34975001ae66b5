"""Read API calls in replies and in documentation, and compare them: as a whole, or by the API they are of."""

from __future__ import annotations

import ast
import re
from collections.abc import Collection, Iterable, Iterator, Sequence
from functools import lru_cache
from typing import Literal, NamedTuple

Verdict = Literal["correct", "wrong", "hallucination"]

_FUNCTION = re.compile(r"(?<![\w.])[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*\(")
_KEYWORD = re.compile(r"([A-Za-z_]\w*)\s*=(?!=)(.*)", re.DOTALL)
_STRING = re.compile(r"\"(?:[^\"\\\n]|\\.)*\"|'(?:[^'\\\n]|\\.)*'")
_FIELD = re.compile(r"api_call[>'\"*]*\s*:?")
_BRACKETS = {"(": ")", "[": "]", "{": "}"}
_CALL_FIELD = re.compile(r"^(?:api_)?call:[ \t]*(\S.*)$", re.I | re.M)  # a line that `json_rows.py` writes
_DEEPEST = 50  # bounds the work on a reply that repeats an opening bracket

# The parameters that say which model is meant, in the order of the signature; all others are options.
_PARAMETERS = {
    "torch.hub.load": ("repo_or_dir", "model"),
    "hub.load": ("handle",),
    "hub.KerasLayer": ("handle",),
    "pipeline": ("task", "model"),
    "from_pretrained": ("pretrained_model_name_or_path",),
    "from_hparams": ("source",),
    "load_from_hub": ("repo_id",),
    "load_model_ensemble_and_task_from_hf_hub": ("model_id",),
    "timm.create_model": ("model_name",),
    "SentenceTransformer": ("model_name_or_path",),
    "SequenceTagger.load": ("model_path",),
    "YOLO": ("model",),
}


class ApiCall(NamedTuple):
    """A call: the dotted name of its function, its arguments by parameter, or by place if that is unknown.

    Strings are without their quotes, other values in Python's own notation without white space. So a bare
    name equals the same text in quotes, which some calls of APIBench lack as published.
    """

    function: str
    arguments: frozenset[tuple[str, str]]

    @property
    def api(self) -> ApiCall:
        """Return the call without options: the API that is meant, whatever else is set.

        Of a function whose signature is unknown, the arguments by place count, or all if there are none.
        """
        names = _parameters(self.function)
        placed = {argument for argument in self.arguments if argument[0].isdigit()}
        meant = {argument for argument in self.arguments if argument[0] in names} | placed
        return ApiCall(self.function, frozenset(meant) or self.arguments)

    def same_api(self, other: ApiCall) -> bool:
        """Return whether two calls are of the same API, whatever their options.

        Of a function whose signature is unknown, the name decides: arguments in documentation are examples.
        """
        if self.function != other.function:
            return False
        return self.api == other.api or not _parameters(self.function)


def read_calls(text: str) -> Iterator[ApiCall]:
    """Yield the calls in a text, code or prose, in the order of their function names; outer calls first.

    A call without its closing bracket, or with brackets nested more than 50 deep, is none. An argument that
    is not Python is compared by its characters.
    """
    for found in _FUNCTION.finditer(text):
        parts = _split_arguments(text[found.end() :])
        if parts is not None:
            yield _make_call(found.group()[:-1], parts)


def read_apis(api_calls: Iterable[str]) -> frozenset[ApiCall]:
    """Return the APIs of a list: the first call of each entry, without options.

    An entry without a call, such as a shell command, is left out.
    """
    firsts = map(_first_call, api_calls)
    return frozenset(call.api for call in firsts if call)


def call_field(document: str) -> str:
    """Return what an API entry has in its field "Call", a call or a command; an empty string without one."""
    field = _CALL_FIELD.search(document)
    return field.group(1).strip() if field else ""


def documented_call(document: str) -> ApiCall | None:
    """Return the call that an API entry documents; None if its field "Call" has none, such as a command."""
    return _first_call(call_field(document))


def documents_api(document: str, call: str) -> bool:
    """Return whether a text is an API entry for the API of a call, or for a command, white space aside."""
    documented, wanted = documented_call(document), _first_call(call)
    if documented is None or wanted is None:
        return bool(call.split()) and call_field(document).split() == call.split()
    return documented.same_api(wanted)


def judge_call(reply: str, gold_call: str, apis: Collection[ApiCall]) -> Verdict:
    """Judge the call of a reply by equality with the gold call.

    Equal are calls of the same dotted function name with the same arguments: their order, quotes and white
    space do not matter, nor whether an argument of a known signature has its keyword. The reply's call is the
    first of an API that is in `apis` or meant by the gold call, within the field `api_call` if there is one.
    If all its calls are of other APIs, it is a hallucination; a reply without a call is wrong. A gold text
    without a call must be repeated as it is, white space aside. Leave out reasoning first.
    """
    field = _FIELD.search(reply)
    answer = reply[field.end() :].split("api_provider")[0] if field else reply
    gold = _first_call(gold_call)
    if gold is None and _words(answer) == _words(gold_call):
        return "correct"
    calls = list(read_calls(answer))
    call = next((call for call in calls if call.api in apis or (gold and call.api == gold.api)), None)
    if call is None:
        return "hallucination" if calls else "wrong"
    return "correct" if call == gold else "wrong"


@lru_cache(maxsize=4096)
def _first_call(text: str) -> ApiCall | None:
    return next(read_calls(text), None)


def _words(text: str) -> list[str]:
    return text.strip("<>,'\"` \n").split()


def _parameters(function: str) -> tuple[str, ...]:
    return _PARAMETERS.get(function) or _PARAMETERS.get(function.rpartition(".")[2], ())


def _split_arguments(text: str) -> list[str] | None:
    """Return the arguments that stand before the closing bracket of a call, None if there is none."""
    parts, begin, place = [], 0, 0
    closing = [")"]
    while place < len(text) and len(closing) <= _DEEPEST:
        string = _STRING.match(text, place)
        if string:
            place = string.end()
            continue
        character = text[place]
        if character in _BRACKETS:
            closing.append(_BRACKETS[character])
        elif character == "," and len(closing) == 1:
            parts.append(text[begin:place])
            begin = place + 1
        elif character == closing[-1]:
            closing.pop()
            if not closing:
                return [part for part in (*parts, text[begin:place]) if part.strip()]
        place += 1
    return None


def _make_call(function: str, parts: Sequence[str]) -> ApiCall:
    arguments: dict[str, str] = {}
    placed = []
    for part in parts:
        keyword = _KEYWORD.fullmatch(part.strip())
        if keyword:
            arguments[keyword.group(1)] = _value(keyword.group(2))
        else:
            placed.append(_value(part))
    names = dict(enumerate(_parameters(function)))
    for place, value in enumerate(placed):
        name = names.get(place, "")
        # Calls of APIBench exist that give a parameter twice, by place and by keyword.
        arguments[name if name and name not in arguments else str(place)] = value
    return ApiCall(function, frozenset(arguments.items()))


def _value(text: str) -> str:
    try:
        value = ast.parse(text.strip(), mode="eval").body
        if isinstance(value, ast.Constant) and isinstance(value.value, str):
            return value.value
        text = ast.unparse(value)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        pass
    return "".join(text.split())
