"""Meet an Azure ML workspace: sign in, and say in one line what it refuses."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from ...errors import UserError
from ...models.endpoint import environment
from ..backend import Unreachable

VARIABLES = ("AZURE_SUBSCRIPTION_ID", "AZURE_RESOURCE_GROUP", "AZUREML_WORKSPACE_NAME")
SCOPE = "https://management.azure.com/.default"
BACKOFF = 0.8  # seconds; azure-core tries an idempotent request again after this, doubled each time

# Tokens, signatures and keys, as the services repeat them in their messages.
_SECRET = re.compile(
    r"eyJ[\w-]{8,}\.[\w.-]+|(?i:bearer )\S+|(?i:(?:sig|api-?key|accountkey|client_secret)=)[^&\s\"']+"
)
_COLOUR = re.compile(r"\x1b\[[0-9;]*m")


@dataclass(frozen=True)
class Workspace:
    """A workspace that was signed in to: `client` is azure-ai-ml's MLClient."""

    client: Any
    credential: Any
    name: str


def open_workspace(env: Mapping[str, str] | None = None) -> Workspace:
    """Sign in to the workspace named by the environment, or by a config.json as the portal offers it.

    The credential is what DefaultAzureCredential finds: `az login`, a managed identity, AZURE_CLIENT_ID and
    its secret, and so on. Nothing is asked of Azure yet. Raises UserError where no workspace is named.
    """
    env = environment() if env is None else env
    missing = [name for name in VARIABLES if not env.get(name, "").strip()]
    with plain_errors():
        try:
            from azure.ai.ml import MLClient
            from azure.ai.ml.exceptions import ValidationException
        except ImportError:
            raise UserError("azure-ai-ml is not installed: pip install -r requirements.txt") from None
        from azure.identity import DefaultAzureCredential

        # Each class that is a preview says so on stderr, eleven lines a job.
        logging.getLogger("azure.ai.ml._utils._experimental").setLevel(logging.ERROR)
        logging.getLogger("azure.identity").setLevel(logging.CRITICAL)  # what fails comes as an exception
        credential = DefaultAzureCredential()
        how: dict[str, Any] = {
            "enable_telemetry": False,
            "show_progress": False,
            "retry_backoff_factor": BACKOFF,
        }
        if not missing:
            client = MLClient(credential, *(env[name].strip() for name in VARIABLES), **how)
        else:
            try:
                client = MLClient.from_config(credential, **how)
            except ValidationException:
                raise UserError(
                    f"which workspace of Azure ML? Set {', '.join(missing)} (or write them into .env, see "
                    ".env.example), or put the workspace's config.json here"
                ) from None
    return Workspace(client, credential, str(client.workspace_name))


@contextmanager
def plain_errors() -> Iterator[None]:
    """Turn what Azure's packages raise into a UserError of one line without secrets.

    Unreachable, where trying again later may help.
    """
    from azure.core import exceptions

    try:
        yield
    except exceptions.ClientAuthenticationError as error:
        raise UserError(
            f"Azure does not take the sign-in: {redact_line(error)}; sign in (`az login`) and run it again"
        ) from None
    except exceptions.HttpResponseError as error:
        raise _explained(error) from None
    except (exceptions.ServiceRequestError, exceptions.ServiceResponseError) as error:
        raise Unreachable(
            f"Azure cannot be reached: {redact_line(error)}; run it again: what was submitted is found"
        ) from None
    except exceptions.AzureError as error:  # azure-ai-ml's own checks are of this kind, too
        raise UserError(f"Azure ML: {redact_line(error)}") from None


def _explained(error: Any) -> UserError:
    """Say what a refused request means, and what to do about it."""
    code = str(getattr(error.error, "code", "") or "") if getattr(error, "error", None) else ""
    told = redact_line(getattr(error.error, "message", "") if code else error)
    said = f"{code}: {told}" if code else told
    if "quota" in said.lower():
        return UserError(
            f"Azure ML refused it for want of quota: {said}; ask for more, or take another region"
        )
    if error.status_code == 403:
        return UserError(f"Azure ML does not allow this: {said}; it takes the role AzureML Data Scientist")
    if error.status_code == 429 or (error.status_code or 0) >= 500:
        return Unreachable(
            f"Azure ML is not well ({error.status_code}): {said}; run it again, nothing is lost"
        )
    return UserError(f"Azure ML refused it ({error.status_code}): {said}")


def redact_line(error: object, limit: int = 300) -> str:
    """Put a message on one line, without the tokens and signatures that services like to repeat."""
    text = _COLOUR.sub("", str(error)).split("\nContent:")[0]  # the body again, as JSON
    text = " ".join(text.split())
    text = _SECRET.sub("[secret]", text)
    return text if len(text) <= limit else text[: limit - 1] + "…"
