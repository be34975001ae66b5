"""Node: the prompt about a chunk → questions, as drafts without answers."""

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
from tools.raft.prompts import parse_messages


@tool
async def ask_questions(
    connection: Union[AzureOpenAIConnection, OpenAIConnection, ServerlessConnection, CustomConnection],
    model: str,
    chunk: dict,
    questions: int,
    seed: int,
    question_prompt: str = "",  # of the two, the one for the chunk's kind
    task_prompt: str = "",
    more_connections: str = "",  # further endpoints of the model, by name, separated by commas
) -> list:
    """Ask with the prompt for the chunk's kind, and again if too few come; fail if a call does."""
    messages = parse_messages(question_prompt or task_prompt)
    async with node_client(connection, model, more_connections) as client:
        drafts = await draft.ask_questions(chunk, client, n=questions, seed=seed, messages=messages)
    draft.raise_failed(drafts)
    return drafts
