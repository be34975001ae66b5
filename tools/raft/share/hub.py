"""Publish a dataset on the Hugging Face Hub: its files and its card in one commit."""

from __future__ import annotations

import hashlib
import json
import logging
import re
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from ..errors import UserError, one_line
from ..models.endpoint import environment
from ..models.openai_sdk import clean
from ..models.service import Unreachable
from ..progress import Progress, no_progress
from .contents import CARD, Contents

log = logging.getLogger(__name__)

LOCAL = '"path/to/this/folder"'  # in a card: what load_dataset is called with
# Files of an earlier publication that this one may lack: they would mix two datasets.
_OURS = re.compile(r"(train|valid|test|drills)\.(\w+\.)?(jsonl|parquet)|(chunks|raft|rejected)\.jsonl")
_AGAIN = "run the same command again: what was uploaded is kept"


class Published(NamedTuple):
    """Where a dataset is, and what was changed there: nothing if it was there already."""

    address: str
    private: bool
    revision: str  # id of the commit
    changed: list[str]
    removed: list[str]


def publish_to_hub(
    contents: Contents,
    repo: str,
    *,
    public: bool = False,
    branch: str = "",
    license: str = "",
    languages: Sequence[str] = (),
    title: str = "",
    env: Mapping[str, str] | None = None,
    progress: Progress = no_progress,
) -> Published:
    """Make the dataset repository `repo` (OWNER/NAME) hold the dataset, creating it if there is none.

    All changes are one commit: a reader sees the old dataset or the new one. Files that are there already
    are not sent; files there that are not of a dataset are left alone. The token is HF_TOKEN of `env` (by
    default the environment and .env) or that of `hf auth login`. Raises UserError without a token, if it
    may not write there, or if the repository is public and `public` is not asked for; Unreachable if the
    Hub fails.
    """
    from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi, get_token

    env = environment() if env is None else env
    token = env.get("HF_TOKEN", "").strip() or get_token() or ""
    if not token:
        raise UserError(
            "no Hugging Face token: set HF_TOKEN (in the environment or in .env) to one that may write, or "
            "run `hf auth login`"
        )
    api = HfApi(endpoint=env.get("HF_ENDPOINT") or None, token=token)
    files = contents.files
    files[CARD] = complete_card(
        contents.card, repo, license=license, languages=languages, title=title
    ).encode("utf-8")
    with plain_errors(repo, token):
        with progress(f"looking up {repo}", 0):
            info = _open_repository(api, repo, public=public, branch=branch)
        there = {file.rfilename: file for file in info.siblings or ()}
        with progress("comparing", 0):
            changed = [
                name
                for name, content in files.items()
                if not _is_same(content, contents.hashes.get(name), there.get(name))
            ]
        removed = sorted(name for name in there if _OURS.fullmatch(name) and name not in files)
        revision = str(info.sha)
        if changed or removed:
            with progress(f"uploading {len(changed)} files to {repo}", 0):
                revision = api.create_commit(
                    repo,
                    [CommitOperationAdd(name, files[name]) for name in changed]
                    + [CommitOperationDelete(name) for name in removed],
                    commit_message=f"RAFT dataset of {sum(contents.rows.values())} rows ({contents.version})",
                    repo_type="dataset",
                    revision=branch or None,
                    parent_commit=revision,  # refused if somebody else commits in between
                ).oid
    address = f"{api.endpoint}/datasets/{repo}" + (f"/tree/{branch}" if branch else "")
    return Published(address, bool(info.private), revision, changed, removed)


def complete_card(
    text: str, repo: str, *, license: str = "", languages: Sequence[str] = (), title: str = ""
) -> str:
    """Return a card with what only its publisher knows: the repository, licence, languages and a title.

    license: a name of https://huggingface.co/docs/hub/repositories-licenses; languages: ISO 639 codes. Raises
    UserError if the card's metadata cannot be read.
    """
    from huggingface_hub import DatasetCard

    try:
        card: Any = DatasetCard(text)
    except (ValueError, TypeError) as error:
        raise UserError(f"the metadata of {CARD} cannot be read: {one_line(error)}") from None
    if license:
        card.data.license = license
    if languages:
        card.data.language = list(languages)
    if title:
        card.data.pretty_name = title
        card.text = re.sub(r"^# .*$", lambda match: f"# {title}", card.text, count=1, flags=re.MULTILINE)
    card.text = card.text.replace(LOCAL, json.dumps(repo))
    return str(card)


def _open_repository(api: Any, repo: str, *, public: bool, branch: str) -> Any:
    """Return the state of the repository, its files with their hashes; create it and the branch if needed."""
    from huggingface_hub.errors import RepositoryNotFoundError, RevisionNotFoundError

    def look_up() -> Any:
        return api.dataset_info(repo, revision=branch or None, files_metadata=True)

    try:
        info = look_up()
    except RepositoryNotFoundError:
        api.create_repo(repo, repo_type="dataset", private=not public, exist_ok=True)
        if branch:
            api.create_branch(repo, repo_type="dataset", branch=branch, exist_ok=True)
        info = look_up()
    except RevisionNotFoundError:
        api.create_branch(repo, repo_type="dataset", branch=branch, exist_ok=True)
        info = look_up()
    if not info.private and not public:
        raise UserError(
            f"{repo} is public, and the dataset holds the text of your documents: --public publishes it "
            "there, or choose another name"
        )
    return info


def _is_same(content: Path | bytes, sha256: str | None, there: Any) -> bool:
    """Return whether a file of the Hub has this content, by the hash that the Hub keeps of it.

    sha256: that of the content, if it is known.
    """
    if there is None:
        return False
    if there.lfs and sha256:
        return bool(sha256 == there.lfs.sha256)
    data = content.read_bytes() if isinstance(content, Path) else content
    if there.lfs:
        return bool(hashlib.sha256(data).hexdigest() == there.lfs.sha256)
    return bool(hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest() == there.blob_id)  # as git does


@contextmanager
def plain_errors(repo: str, token: str) -> Iterator[None]:
    """Turn exceptions of huggingface_hub into one-line UserErrors without the token; log its warnings."""
    import httpx2
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, OfflineModeIsEnabled
    from huggingface_hub.utils.tqdm import disable_progress_bars

    try:
        # Its bars would stand beside our own.
        with disable_progress_bars(), warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            yield
        for warning in caught:
            log.warning("%s", clean(one_line(warning.message), token))
        return
    except OfflineModeIsEnabled:
        failure = UserError("HF_HUB_OFFLINE is set: unset it to publish")
    except HFValidationError as error:
        failure = UserError(f"{repo} is no name for a dataset on the Hub: {one_line(error)}")
    except HfHubHTTPError as error:
        failure = _to_exception(error, repo, token)
    except httpx2.HTTPError as error:
        reason = clean(str(error) or type(error).__name__, token)
        failure = Unreachable(f"the Hub cannot be reached ({reason}): {_AGAIN}")
    except (RuntimeError, ValueError, OSError) as error:  # of an upload
        if isinstance(error.__cause__, HfHubHTTPError):
            failure = _to_exception(error.__cause__, repo, token)
        else:
            failure = Unreachable(f"the upload to {repo} failed ({clean(str(error), token)}): {_AGAIN}")
    raise failure from None


def _to_exception(error: Any, repo: str, token: str) -> UserError:
    """Return a refused request as an exception that says what to do about it."""
    status = error.response.status_code
    message = clean(one_line(error.server_message or error), token)
    reply = f"HTTP {status}: {message}"
    if status in (401, 404):
        return UserError(
            f"the Hub knows no dataset {repo} that this token may see ({reply}): check the name and HF_TOKEN "
            "(or run `hf auth login`)"
        )
    if status == 403:
        return UserError(f"the token may not write to {repo} ({reply}): use one with write access there")
    if status in (409, 412):
        return Unreachable(
            f"{repo} was changed by somebody else meanwhile ({reply}): run the same command again"
        )
    if status == 429 or status >= 500:
        return Unreachable(f"the Hub is failing ({reply}): {_AGAIN}")
    return UserError(f"the Hub refused {repo} ({reply})")
