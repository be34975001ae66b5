"""Node: questions → chain-of-thought answers from the oracle chunk."""

from typing import Union

from promptflow.connections import (
    AzureOpenAIConnection,
    CustomConnection,
    OpenAIConnection,
    ServerlessConnection,
)
from promptflow.core import tool

from tools.connections import node_client
from tools.raft.generate import draft


@tool
async def draft_answers(
    connection: Union[AzureOpenAIConnection, OpenAIConnection, ServerlessConnection, CustomConnection],
    model: str,
    chunk: dict,
    drafts: list,
    seed: int,
) -> list:
    """Draft an answer to every question that passes its checks; the answers are not verified yet."""
    async with node_client(connection, model) as client:
        await draft.draft_answers(drafts, chunk, client, seed=seed)
        return drafts
