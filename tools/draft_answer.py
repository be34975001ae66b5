"""Node: the prompt with a question and its oracle chunk → a chain-of-thought answer."""

from typing import Union

from promptflow.connections import (
    AzureOpenAIConnection,
    CustomConnection,
    OpenAIConnection,
    ServerlessConnection,
)
from promptflow.core import tool

from tools.connections import node_client
from tools.raft.generate import draft as drafting
from tools.raft.prompts import parse_messages


@tool
async def draft_answer(
    connection: Union[AzureOpenAIConnection, OpenAIConnection, ServerlessConnection, CustomConnection],
    model: str,
    chunk: dict,
    draft: dict,
    seed: int,
    answer_prompt: str = "",  # of the two, the one for the chunk's kind
    task_prompt: str = "",
    more_connections: str = "",  # further endpoints of the model, by name, separated by commas
) -> dict:
    """Answer a question that passes its checks; the answer is not verified yet. Fail if the call does."""
    messages = parse_messages(answer_prompt or task_prompt)
    async with node_client(connection, model, more_connections) as client:
        await drafting.draft_answer(draft, chunk, client, seed=seed, messages=messages)
    drafting.raise_failed([draft])
    return draft
