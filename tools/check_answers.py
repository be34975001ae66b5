"""Node: answers → those that passed every check, and those refused with their reasons."""

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
from tools.raft.draft import retry_refused, verify


@tool
async def check_answers(
    connection: Union[AzureOpenAIConnection, OpenAIConnection, ServerlessConnection, CustomConnection],
    model: str,
    chunk: dict,
    drafts: list,
    seed: int,
) -> dict:
    """Check every answer and try once more what was refused; gives lists "verified" and "rejected"."""
    async with node_client(connection, model) as client:
        for draft in drafts:
            await verify(draft, chunk, client)
        await asyncio.gather(*(retry_refused(draft, chunk, client, seed=seed) for draft in drafts))
        return {
            "verified": [draft for draft in drafts if not draft["reason"]],
            "rejected": [draft for draft in drafts if draft["reason"]],
        }
