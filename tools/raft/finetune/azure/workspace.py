"""Sign in to an Azure ML workspace, and turn its errors into one-line messages."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from ...errors import UserError
from ...models.endpoint import environment
from ...models.service import Unreachable

VARIABLES = ("AZURE_SUBSCRIPTION_ID", "AZURE_RESOURCE_GROUP", "AZUREML_WORKSPACE_NAME")
SCOPE = "https://management.azure.com/.default"
BACKOFF = 0.8  # seconds before azure-core retries an idempotent request; doubled each time

# Tokens, signatures and keys, which the services may echo in their messages.
_SECRET = re.compile(
    r"eyJ[\w-]{8,}\.[\w.-]+|(?i:bearer )\S+|(?i:(?:sig|api-?key|accountkey|client_secret)=)[^&\s\"']+"
)
_COLOUR = re.compile(r"\x1b\[[0-9;]*m")


@dataclass(frozen=True)
class Workspace:
    """A workspace to which the user has signed in; `client` is an azure-ai-ml MLClient."""

    client: Any
    credential: Any
    name: str


def open_workspace(env: Mapping[str, str] | None = None) -> Workspace:
    """Open the workspace named by the environment, or by a config.json downloaded from the portal.

    The credential is whatever DefaultAzureCredential finds: `az login`, a managed identity, AZURE_CLIENT_ID
    and its secret, and so on. No request is sent yet. Raises UserError if no workspace is named.
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

        # Each preview class logs a warning to stderr, eleven lines a job.
        logging.getLogger("azure.ai.ml._utils._experimental").setLevel(logging.ERROR)
        logging.getLogger("azure.identity").setLevel(logging.CRITICAL)  # failures are raised as exceptions
        credential = DefaultAzureCredential()
        options: dict[str, Any] = {
            "enable_telemetry": False,
            "show_progress": False,
            "retry_backoff_factor": BACKOFF,
        }
        if not missing:
            client = MLClient(credential, *(env[name].strip() for name in VARIABLES), **options)
        else:
            try:
                client = MLClient.from_config(credential, **options)
            except ValidationException:
                raise UserError(
                    f"no Azure ML workspace is named: set {', '.join(missing)} (in the environment or "
                    "in .env, see .env.example), or put the workspace's config.json here"
                ) from None
    return Workspace(client, credential, str(client.workspace_name))


@contextmanager
def plain_errors(service: str = "Azure ML", role: str = "AzureML Data Scientist") -> Iterator[None]:
    """Turn exceptions of Azure's packages into one-line UserErrors without secrets.

    `role` is what the service asks of the account. Raises Unreachable if trying again later may help.
    """
    from azure.core import exceptions

    try:
        yield
    except exceptions.ClientAuthenticationError as error:
        raise UserError(_rejected(redact_line(error))) from None
    except exceptions.HttpResponseError as error:
        raise _to_exception(error, service, role) from None
    except (exceptions.ServiceRequestError, exceptions.ServiceResponseError) as error:
        raise Unreachable(
            f"Azure cannot be reached: {redact_line(error)}; run again, a submitted job will be found"
        ) from None
    except exceptions.AzureError as error:  # includes azure-ai-ml's own validation
        raise UserError(f"{service}: {redact_line(error)}") from None


def _rejected(message: str) -> str:
    return f"Azure rejected the sign-in: {message}; sign in (`az login`) and run again"


def _to_exception(error: Any, service: str, role: str) -> UserError:
    """Return a refused request as an exception that says what to do about it."""
    code = str(getattr(error.error, "code", "") or "") if getattr(error, "error", None) else ""
    message = redact_line(getattr(error.error, "message", "") if code else error)
    message = f"{code}: {message}" if code else message
    if error.status_code == 401:
        return UserError(_rejected(message))
    if "quota" in message.lower():
        return UserError(
            f"{service} refused the request, not enough quota: {message}; request more or use another region"
        )
    if error.status_code == 403:
        return UserError(f"{service} denied access: {message}; the role {role} is required")
    if error.status_code == 429 or (error.status_code or 0) >= 500:
        return Unreachable(
            f"{service} is failing ({error.status_code}): {message}; run again, nothing is lost"
        )
    return UserError(f"{service} refused the request ({error.status_code}): {message}")


def redact_line(error: object, limit: int = 300) -> str:
    """Return a message on one line, without the tokens and signatures that services may echo."""
    text = _COLOUR.sub("", str(error)).split("\nContent:")[0]  # the rest repeats the body as JSON
    text = " ".join(text.split())
    text = _SECRET.sub("[secret]", text)
    return text if len(text) <= limit else text[: limit - 1] + "…"
