"""Let promptflow's llm nodes ask models that do not take `temperature`, `top_p` or `max_tokens`.

The nodes always send the first two, and reasoning models refuse all three. What a model refuses is replaced
or left out, as in all other calls (tools/raft/models/parameters.py). A node of each chat flow imports this.
"""

import functools
import logging
from collections.abc import Callable
from typing import Any

from openai import BadRequestError, UnprocessableEntityError
from openai.resources.chat import Completions
from promptflow.tracing._integrations._openai_injector import inject_openai_api, recover_openai_api

from tools.raft.models.parameters import (
    THOUGHT_TOKENS,
    describe_replacement,
    find_unsupported,
    replace_unsupported,
)

log = logging.getLogger(__name__)

_unsupported: dict[tuple[str, str], dict[str, str]] = {}  # of a model at an address


def _adapt(create: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(create)
    def create_supported(self: Completions, **sent: Any) -> Any:
        model = str(sent.get("model", ""))
        unsupported = _unsupported.setdefault((str(self._client.base_url), model), {})
        while True:
            body = replace_unsupported(sent, unsupported)
            if "max_completion_tokens" in body:  # which counts the model's thoughts
                body["max_completion_tokens"] += THOUGHT_TOKENS
            try:
                return create(self, **body)
            except (BadRequestError, UnprocessableEntityError) as error:
                found = find_unsupported(body, error.message)
                if found is None:
                    raise
                name, replacement = found
                unsupported[name] = replacement
                log.warning("%s %s", model, describe_replacement(name, replacement))

    return create_supported


# Below promptflow's tracing, so that its spans and its counts of tokens are those of a call.
_traced = hasattr(Completions.create, "_original")
recover_openai_api()
Completions.create = _adapt(Completions.create)  # type: ignore[method-assign]
if _traced:
    inject_openai_api()
