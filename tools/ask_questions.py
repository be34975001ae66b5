"""Node: a chunk → questions about it."""

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
async def ask_questions(
    connection: Union[AzureOpenAIConnection, OpenAIConnection, ServerlessConnection, CustomConnection],
    model: str,
    chunk: dict,
    questions: int,
    seed: int,
) -> list:
    """Ask the model for questions that the chunk answers; return drafts without answers."""
    async with node_client(connection, model) as client:
        return await draft.ask_questions(chunk, client, n=questions, seed=seed)
