"""Judge replies as APIBench's reference scorers do: by the domain of the first API that a reply matches.

The rules are those of ast_eval_th.py, ast_eval_tf.py and ast_eval_hf.py (github.com/ShishirPatil/gorilla,
Apache-2.0) for Patil et al., "Gorilla: Large Language Model Connected with Massive APIs", NeurIPS 2024. They
accept any API of the gold domain; `judge_call` in text/api_calls.py compares with the gold call.

The grammar is newer than the one bundled with them: of 1,775 replies published there (Gorilla, zero-shot),
one, mostly prose, matches an API here and none there.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from ..errors import UserError
from ..text.api_calls import Verdict

if TYPE_CHECKING:
    from tree_sitter import Node, Parser

Hub = Literal["torchhub", "tensorflowhub", "huggingface"]


class Judgement(NamedTuple):
    """A verdict, and the API it is based on."""

    verdict: Verdict
    matched: int | None = None  # place in the list of APIs, from 0; None: none matched, or nothing was parsed


class _Api(NamedTuple):
    function: str
    values: tuple[str, ...]  # of the arguments that are compared
    domain: str


class ReferenceScorer:
    """The reference scorer of one hub, for a list of APIs in file order."""

    def __init__(self, hub: Hub, apis: Sequence[Mapping[str, Any]]) -> None:
        """Parse the `api_call` of each API; an API also has a `domain`.

        An API whose call has no function or no argument to compare matches nothing. Raises UserError if
        tree-sitter is missing.
        """
        self._hub = hub
        self._parser = _open_parser()
        self._apis = [self._read_api(api) for api in apis]

    def judge(self, reply: str, gold_domain: str) -> Judgement:
        """Judge a reply; leave out reasoning first, as a call quoted there would be judged instead."""
        if "api_call" not in reply and self._hub == "torchhub":
            return Judgement("wrong")
        root = self._parse(_cut_call(reply))
        nodes = _list_nodes(root)
        by_function: dict[str, Node] = {}
        for node in nodes:
            if node.children:
                by_function.setdefault(_text(node.children[0]), node)
        for place, api in enumerate(self._apis):
            # Without that function the reference compares what it visited last, probably by mistake.
            text = _text(by_function.get(api.function, nodes[-1])) if api.values else ""
            if api.values and all(value in text for value in api.values):
                return Judgement("correct" if api.domain == gold_domain else "wrong", place)
        return Judgement("hallucination")

    def _parse(self, code: str) -> Node:
        return self._parser.parse(code.encode("utf-8", "replace")).root_node

    def _read_api(self, api: Mapping[str, Any]) -> _Api:
        call = _first_child(_first_child(self._parse(api["api_call"])))
        function = _first_child(call)
        if call is None or function is None:
            return _Api("", (), api["domain"])
        arguments = call.children[1].children if len(call.children) > 1 else []
        values = [self._compared(argument) for argument in arguments]
        return _Api(
            _text(function), tuple(value.strip("'") for value in values if value is not None), api["domain"]
        )

    def _compared(self, argument: Node) -> str | None:
        """Return the text of an argument that the hub's scorer compares, None of one it does not."""
        text = _text(argument)
        names = {
            "torchhub": ("repo_or_dir", "model"),
            "tensorflowhub": ("model=", "model ="),
            "huggingface": ("=",),
        }[self._hub]
        if any(name in text for name in names):
            return _text(argument.children[2] if len(argument.children) > 2 else argument)
        return None if self._hub == "torchhub" or text in ("(", ")", ",") else text


def _cut_call(reply: str) -> str:
    """Return what the reference parses: the text of the field `api_call`, or a reply without one as it is."""
    _, tag, rest = reply.partition("api_call")
    if not tag:
        return reply
    field = rest.split("api_call")[0].split("api_provider")[0]
    start = max(field.find(":"), 0) + 2
    end = field.rfind(")") + 1 if ")" in field else -1
    return field[start:end]


def _list_nodes(root: Node) -> list[Node]:
    """Return the root and all nodes that have children, parents first and later siblings first."""
    nodes, stack = [], [root]
    while stack:
        nodes.append(stack.pop())
        stack += [child for child in nodes[-1].children if child.children]
    return nodes


def _first_child(node: Node | None) -> Node | None:
    return node.children[0] if node is not None and node.children else None


def _text(node: Node) -> str:
    return (node.text or b"").decode("utf-8", "replace")


def _open_parser() -> Parser:
    try:
        import tree_sitter_python
        from tree_sitter import Language, Parser
    except ImportError:
        raise UserError(
            "APIBench's reference scores need tree-sitter: pip install -r requirements-apibench.txt"
        ) from None
    return Parser(Language(tree_sitter_python.language()))
