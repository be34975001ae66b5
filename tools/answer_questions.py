"""Node: questions → chain-of-thought answers from their oracle chunk."""

import asyncio
from typing import Union

from promptflow.connections import (
    AzureOpenAIConnection,
    CustomConnection,
    OpenAIConnection,
    ServerlessConnection,
)
from promptflow.core import tool

from tools.connections import node_client
from tools.raft.answer import answer_question
from tools.raft.check import check_question


@tool
async def answer_questions(
    connection: Union[AzureOpenAIConnection, OpenAIConnection, ServerlessConnection, CustomConnection],
    model: str,
    chunk: dict,
    drafts: list,
    seed: int,
) -> list:
    """Answer every question that is one, all at the same time; answers come back unchecked."""
    async with node_client(connection, model) as client:
        for draft in drafts:
            draft["reason"] = draft["reason"] or check_question(draft, chunk)
        await asyncio.gather(*(answer_question(draft, chunk, client, seed=seed) for draft in drafts))
        return drafts
