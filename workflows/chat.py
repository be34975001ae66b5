"""The chat flows as a workflow: a question and the turns before it → an answer with its sources.

One executor for each node of flow.dag.yaml, under its name; the node wants_stream is `ctx.is_streaming()`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from agent_framework import (
    Case,
    ChatOptions,
    CheckpointStorage,
    Default,
    Executor,
    Message,
    SupportsChatGetResponse,
    Workflow,
    WorkflowBuilder,
    WorkflowContext,
    handler,
)
from typing_extensions import Never

from tools.raft.choices import Mode, Prompt, check_choice
from tools.raft.prompts import render
from tools.raft.rag.answer import DOCUMENTS, PROMPTS, REPLY_TOKENS, build_instruction
from tools.raft.rag.answerability import check_evidence
from tools.raft.rag.chat_retriever import ChatRetriever
from tools.raft.rag.citations import ShownReply, present_reply, present_stream
from tools.raft.rag.follow_up import resolve_question
from tools.raft.rag.index import Hit

NAME = "raft-chat"
OUTPUTS = (
    "reply", "answer", "reasoning", "citations", "answered", "refusal", "evidence", "note", "sources"
)  # fmt: skip


@dataclass(frozen=True)
class Turn:
    """A question on its way: the inputs of the flow, and what the executors before have found."""

    question: str
    chat_history: Sequence[Mapping[str, Any]] = ()
    focus: bool = False  # the model is shown only the sentences of the documents that matter
    always_answer: bool = False  # the model is asked even where the index's threshold says to refuse
    query: str = ""  # for the retriever; `question` then is that for the model
    documents: list[Hit] = field(default_factory=list)
    evidence: float | None = None  # probability that the documents hold an answer
    refusal: str = ""  # why the model is not asked
    instruction: str = ""
    reply: str = ""  # of the model


class ResolveQuestion(Executor):
    """Makes a follow-up self-contained."""

    @handler
    async def resolve(self, turn: Turn, ctx: WorkflowContext[Turn]) -> None:
        """Raises UserError if the question is empty or a turn has no known form."""
        resolved = resolve_question(turn.question, turn.chat_history)
        await ctx.send_message(replace(turn, **resolved._asdict()))


class SearchIndex(Executor):
    """Finds the documents; in a thread, as a search computes for some milliseconds."""

    def __init__(self, id: str, retriever: ChatRetriever, k: int, mode: Mode) -> None:
        super().__init__(id=id)
        self._retriever, self._k, self._mode = retriever, k, mode

    @handler
    async def search(self, turn: Turn, ctx: WorkflowContext[Turn]) -> None:
        """Search with the query, not with the question."""
        found = await asyncio.to_thread(
            self._retriever.find, turn.query, self._k, self._mode, focus=turn.focus
        )
        await ctx.send_message(replace(turn, documents=found))


class CheckEvidence(Executor):
    """Decides whether the model is asked."""

    @handler
    async def check(self, turn: Turn, ctx: WorkflowContext[Turn]) -> None:
        """Without what `calibrate` fits for an index, every question is answerable."""
        checked = check_evidence(turn.documents, always_answer=turn.always_answer)
        await ctx.send_message(replace(turn, evidence=checked["evidence"], refusal=checked["refusal"]))


class BuildInstruction(Executor):
    """Wraps each document in its tags, with the question below, in the form of the training rows."""

    @handler
    async def build(self, turn: Turn, ctx: WorkflowContext[Turn]) -> None:
        """All text is sanitized."""
        await ctx.send_message(replace(turn, instruction=build_instruction(turn.documents, turn.question)))


class AskModel(Executor):
    """Asks the model; in a streamed run, yields the reply piece by piece, and its sources at the end."""

    def __init__(self, id: str, client: SupportsChatGetResponse, prompt: Prompt) -> None:
        super().__init__(id=id)
        self._client, self._prompt = client, prompt

    @handler
    async def ask(self, turn: Turn, ctx: WorkflowContext[Turn, dict[str, Any] | str]) -> None:
        """Raises CallFailed or EndpointRefused if there is no reply."""
        prompt = render(PROMPTS[self._prompt], instruction=turn.instruction, question=turn.question)
        messages = [Message(message["role"], [message["content"]]) for message in prompt]
        options: ChatOptions[None] = {"max_tokens": REPLY_TOKENS, "temperature": 0.0}
        if ctx.is_streaming():
            text = await self._stream(turn, messages, options, ctx)
        else:
            text = (await self._client.get_response(messages, options=options)).text
        await ctx.send_message(replace(turn, reply=text))

    async def _stream(
        self, turn: Turn, messages: list[Message], options: Any, ctx: WorkflowContext[Any, Any]
    ) -> str:
        shown, text, begun, broken = ShownReply(turn.documents), "", False, False
        try:
            async for update in self._client.get_response(messages, stream=True, options=options):
                if not begun:
                    begun = True
                    await ctx.yield_output({**present_stream(turn.documents), "evidence": turn.evidence})
                text += update.text
                for piece in shown.add(update.text):
                    await ctx.yield_output(piece)
        except Exception:
            if not begun:  # the run fails, as nothing is shown yet
                raise
            broken = True
        for piece in shown.end(broken=broken):
            await ctx.yield_output(piece)
        return text


class ReadReply(Executor):
    """Parses the reply and looks up its quotes."""

    @handler
    async def read(self, turn: Turn, ctx: WorkflowContext[Never, dict[str, Any]]) -> None:
        """Yield the outputs of the flow."""
        shown = {**present_reply(turn.reply, turn.documents, turn.refusal), "evidence": turn.evidence}
        await ctx.yield_output({name: shown[name] for name in OUTPUTS})


def build_chat(
    retriever: ChatRetriever,
    client: SupportsChatGetResponse,
    *,
    prompt: Prompt = "chain_of_thought",
    k: int = DOCUMENTS,
    mode: Mode = "fused",
    checkpoints: CheckpointStorage | None = None,
) -> Workflow:
    """Build the workflow for one conversation at a time: an instance runs one question after another.

    Give it a `Turn`; the result's only output has the outputs of the flow. In a streamed run, the
    intermediate outputs are first what is known before the reply, then its pieces. Raises UserError for an
    unknown prompt.
    """
    check_choice("prompt", prompt, Prompt)
    resolve, search = ResolveQuestion("resolve_question"), SearchIndex("search_index", retriever, k, mode)
    check, build = CheckEvidence("check_evidence"), BuildInstruction("build_instruction")
    ask, read = AskModel("ask_model", client, prompt), ReadReply("read_reply")
    return (
        WorkflowBuilder(
            name=NAME,
            start_executor=resolve,
            checkpoint_storage=checkpoints,
            output_from=[read],
            intermediate_output_from=[ask],
        )
        .add_chain([resolve, search, check])
        .add_switch_case_edge_group(
            check,
            [Case(condition=lambda turn: bool(turn.refusal), target=read), Default(target=build)],
        )
        .add_chain([build, ask, read])
        .build()
    )
