"""Find out from a refusal which parameter of a request a model does not take."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

THOUGHT_TOKENS = 4096  # room for the thoughts of a model that used up its tokens before it answered

# What a reply can do without. Reasoning models take none of them, and max_tokens under another name.
_OPTIONAL = ("temperature", "top_p", "seed", "stop", "presence_penalty", "frequency_penalty")
_UNSUPPORTED = re.compile(
    r"unsupported|not support|unknown|unrecogni[sz]ed|not permitted|extra_forbidden", re.IGNORECASE
)


def find_unsupported(sent: Mapping[str, Any], message: str) -> tuple[str, str] | None:
    """Return the parameter that a server's message refuses and its replacement, "" to leave it out.

    Returns None if the message refuses none of the parameters that were sent.
    """
    if "max_tokens" in sent and "max_completion_tokens" in message:
        return "max_tokens", "max_completion_tokens"
    if _UNSUPPORTED.search(message):
        for name in _OPTIONAL:
            if name in sent and re.search(rf"\b{name}\b", message):
                return name, ""
    return None


def replace_unsupported(sent: Mapping[str, Any], unsupported: Mapping[str, str]) -> dict[str, Any]:
    """Return a request with its unsupported parameters replaced or left out."""
    renamed = ((unsupported.get(name, name), value) for name, value in sent.items())
    return {name: value for name, value in renamed if name}


def describe_replacement(name: str, replacement: str) -> str:
    """Describe what is done about an unsupported parameter."""
    action = f"using {replacement}" if replacement else "leaving it out"
    return f"does not support {name}: {action} from now on"
