"""Node: the prompts of the judge → its scores, 1 to 5."""

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
from tools.raft.evaluate.judge import ask_judge
from tools.raft.prompts import parse_messages


@tool
async def judge_answer(
    connection: Union[AzureOpenAIConnection, OpenAIConnection, ServerlessConnection, CustomConnection],
    model: str,
    similarity: str = "",  # a prompt is empty if its judgement is not wanted or does not apply
    groundedness: str = "",
    relevance: str = "",
    coherence: str = "",
    fluency: str = "",
    more_connections: str = "",  # further endpoints of the model, by name, separated by commas
) -> dict:
    """Ask the judge with each prompt; a score that cannot be read is null, `error` says why."""
    prompts = {"similarity": similarity, "groundedness": groundedness, "relevance": relevance}
    prompts |= {"coherence": coherence, "fluency": fluency}
    asked = {name: parse_messages(prompt) for name, prompt in prompts.items() if prompt}
    async with node_client(connection, model, more_connections) as client:
        verdicts = await asyncio.gather(*(ask_judge(messages, client) for messages in asked.values()))
    return {name: vars(verdict) for name, verdict in zip(asked, verdicts, strict=True)}
