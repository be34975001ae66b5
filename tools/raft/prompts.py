"""Render the Jinja prompts of prompts/ into chat messages."""

from __future__ import annotations

import hashlib
import os
import re
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, TypedDict

from .errors import UserError
from .files import PROJECT

if TYPE_CHECKING:
    from jinja2 import Template

PROMPTS = PROJECT / "prompts"
_ROLE = re.compile(r"(?m)^#\s*(system|user|assistant):\s*\n")


class Message(TypedDict):
    role: str
    content: str


def assistant_message(text: str) -> Message:
    """Return a text as what the assistant said."""
    return {"role": "assistant", "content": text}


def prompt_folder() -> Path:
    """Return the folder of the prompts: `RAFT_PROMPTS` if it is set, else the project's own."""
    return Path(os.environ.get("RAFT_PROMPTS") or PROMPTS)


def render(name: str, **values: object) -> list[Message]:
    """Render one prompt into its messages.

    The template is split at its role lines before values are filled in, so a value can never start a
    message of its own. Raises UserError if the file is missing or broken.
    """
    from jinja2 import UndefinedError

    try:
        return [
            {"role": role, "content": body.render(values).strip()}
            for role, body in _templates(prompt_folder(), name)
        ]
    except UndefinedError as error:
        raise UserError(f"prompt {name}: {error}; see the comment in its first line") from None


def parse_messages(prompt: str) -> list[Message]:
    """Split a rendered prompt, such as a prompt node returns, into its messages.

    What was filled in has to be sanitized: a role line in it would start a message of its own. Raises
    UserError if the prompt has no role line.
    """
    parts = _ROLE.split(prompt)
    if len(parts) < 3:
        raise UserError("the prompt has no role line such as '# user:'")
    return [
        {"role": role, "content": body.strip()} for role, body in zip(parts[1::2], parts[2::2], strict=True)
    ]


def prompt_hash(*names: str) -> str:
    """Compute a hash of the prompts' text: 16 hexadecimal digits that change if any prompt does."""
    digest = hashlib.sha256()
    for name in names:
        digest.update(_source(prompt_folder(), name).encode("utf-8") + b"\x00")
    return digest.hexdigest()[:16]


@lru_cache(maxsize=64)
def _source(folder: Path, name: str) -> str:
    try:
        return (folder / name).read_text(encoding="utf-8-sig")
    except OSError:
        raise UserError(f"no prompt {name} in {folder}; copy it from the project's prompts/") from None


@lru_cache(maxsize=64)
def _templates(folder: Path, name: str) -> list[tuple[str, Template]]:
    from jinja2 import StrictUndefined, TemplateSyntaxError
    from jinja2.sandbox import SandboxedEnvironment

    environment = SandboxedEnvironment(undefined=StrictUndefined, keep_trailing_newline=True)
    parts = _ROLE.split(_source(folder, name))
    if len(parts) < 3:
        raise UserError(f"prompt {name} in {folder} has no role line such as '# user:'")
    try:
        return [
            (role, environment.from_string(body)) for role, body in zip(parts[1::2], parts[2::2], strict=True)
        ]
    except TemplateSyntaxError as error:
        raise UserError(f"prompt {name} in {folder}, line {error.lineno}: {error.message}") from None
