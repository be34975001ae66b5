"""Have a model answer a question from its oracle chunk alone."""

from __future__ import annotations

from . import ask
from .ask import RETRY_TEMPERATURE, refuse
from .client import CallFailed, Client
from .confidence import is_likely_answer, logprobs_after
from .guide import answer_grammar, likely_sentences
from .parse import ANSWER_TAG, normalise, parse_answer
from .prompts import prompt_hash, render
from .records import Chunk, Draft, Kind
from .sentences import split_sentences

PROMPTS = {"text": "answer_question.jinja2", "api": "answer_task.jinja2"}
GUIDED_PROMPT = "guided_answer.jinja2"

ANSWER_TOKENS = 768  # room for reasoning, quotes and the final answer
_GUIDED_TOKENS = 256  # one quoted sentence and a short answer


async def answer_question(draft: Draft, chunk: Chunk, client: Client, *, seed: int, attempt: int = 0) -> None:
    """Fill in the chain-of-thought answer of a draft as the model writes it, unchecked.

    A draft that was refused already is left alone; one whose call fails is marked `failed`.
    """
    if draft["reason"]:
        return
    try:
        if client.endpoint.guided:
            reply = await client.ask(
                render(GUIDED_PROMPT, passage=chunk["text"], question=draft["question"]),
                max_tokens=_GUIDED_TOKENS,
                extra={"grammar": _grammar(draft, chunk), "cache_prompt": True, "logprobs": True},
            )
        else:
            reply = await client.ask(
                render(PROMPTS[chunk["kind"]], chunk=chunk["text"], question=draft["question"]),
                max_tokens=ANSWER_TOKENS,
                temperature=RETRY_TEMPERATURE if attempt else 0.0,
                seed=seed if attempt else None,  # see ask.py
                attempt=attempt,
            )
    except CallFailed as failure:
        refuse(draft, failure)
        return
    draft["cot_answer"], draft["finish_reason"] = reply.text, reply.finish_reason
    draft["model"] = client.endpoint.model
    draft["prompt_hash"] = prompt_hash(*prompts_of(chunk["kind"], guided=client.endpoint.guided))
    if "target" in draft and not is_likely_answer(logprobs_after(ANSWER_TAG, reply.logprobs)):
        draft["reason"] = "answer is a guess"


async def answer_again(draft: Draft, client: Client) -> None:
    """Refuse a verified draft of a small model whose answer changes when it sees the sentence alone."""
    if draft["reason"] or "target" not in draft:
        return
    try:
        reply = await client.ask(
            render(GUIDED_PROMPT, passage=draft["target"], question=draft["question"]),
            max_tokens=_GUIDED_TOKENS,
            extra={"grammar": answer_grammar([draft["target"]])},
        )
    except CallFailed as failure:
        refuse(draft, failure)
        return
    again = parse_answer(reply.text)
    if isinstance(again, str) or normalise(again.final) != normalise(draft["final_answer"]):
        draft["reason"] = "tries disagree on the answer"


def _grammar(draft: Draft, chunk: Chunk) -> str:
    """Admit only verbatim quotes; of a person's question, only from sentences that can be meant."""
    sentences = split_sentences(chunk["text"])
    if draft["origin"] == "given":
        sentences = likely_sentences(sentences, draft["question"], holding=draft.get("expected", ""))
    return answer_grammar(sentences)


def prompts_of(kind: Kind, *, guided: bool) -> tuple[str, str]:
    """Name the two prompts, question and answer, that rows of a kind of chunk are made with."""
    return (ask.GUIDED_PROMPT, GUIDED_PROMPT) if guided else (ask.PROMPTS[kind], PROMPTS[kind])
