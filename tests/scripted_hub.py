"""A scripted Hugging Face Hub on loopback: dataset repositories, commits and large files, faults on demand.

Paths, fields and status codes are those that huggingface_hub 2.4.0 sends and reads (hf_api.py, _commit_api.py,
lfs.py, utils/_http.py); whatever it sends otherwise is refused here. Large files go by the LFS protocol
(https://github.com/git-lfs/git-lfs/blob/main/docs/api/batch.md) or, if a Xet store is named, by the package hf_xet
itself, which can write to a folder.
"""

from __future__ import annotations

import base64
import hashlib
import json
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import yaml

from tests.scripted_service import take_fault

TOKEN = "hf_scriptedTokenThatNobodyMaySee"
OWNER = "bats"

Reply = tuple[int, Any, dict[str, str]]  # status, JSON, headers
Files = dict[str, bytes]


class Hub:
    """The state of the Hub, and the faults it is set to produce."""

    def __init__(self) -> None:
        self.repositories: dict[str, dict[str, Any]] = {}  # id → private, branches (name → list of commits)
        self.objects: dict[str, bytes] = {}  # large files by their SHA-256
        self.large_from = 3_000  # bytes from which a file is a large one
        self.requests: list[tuple[str, str]] = []  # method and path
        self.refuse: dict[tuple[str, str], Reply] = {}  # (method, part of the path) → reply
        self.drop: Counter[tuple[str, str]] = Counter()  # how often the connection is closed without a reply
        self.drop_after: Counter[tuple[str, str]] = Counter()  # … after the request was processed
        self.xet = ""  # address of the Xet store, such as local:///FOLDER
        self.address = ""

    # for assertions

    def commits(self, repo: str, branch: str = "main") -> list[dict[str, Any]]:
        """Return the commits of a branch, the first one that of its creation."""
        return self.repositories[repo]["branches"][branch]

    def files(self, repo: str, branch: str = "main") -> Files:
        """Return the files of a branch as they are now."""
        return self.commits(repo, branch)[-1]["files"]

    def count(self, method: str, part: str) -> int:
        """Return the number of requests with a method and with a text in their path."""
        return sum(verb == method and part in path for verb, path in self.requests)

    def add(self, repo: str, *, private: bool = True, files: Files | None = None) -> None:
        """Create a repository, as its owner would on the web."""
        self.repositories[repo] = {"private": private, "branches": {"main": []}}
        self._commit(
            repo, "main", {".gitattributes": b"*.parquet filter=lfs\n", **(files or {})}, "initial commit"
        )

    # the service

    def answer(self, method: str, path: str, query: dict[str, list[str]], body: bytes, headers: Any) -> Reply:
        """Answer one request."""
        for (verb, part), refusal in self.refuse.items():
            if verb == method and part in path:
                return refusal
        if path.startswith("/storage/"):  # its URLs are signed
            return self._store(method, path.removeprefix("/storage/"), body)
        if headers.get("Authorization") != f"Bearer {TOKEN}":
            return _error(401, "", "Invalid credentials in Authorization header")
        if path == "/api/validate-yaml":
            return _validate(json.loads(body))
        if path == "/api/repos/create":
            return self._create(json.loads(body))
        if path.endswith(".git/info/lfs/objects/batch"):
            repo = path.removeprefix("/datasets/").removesuffix(".git/info/lfs/objects/batch")
            return self._batch(repo, json.loads(body), headers)
        if not path.startswith("/api/datasets/"):
            return _error(404, "", "Not Found")
        owner, name, action, rest = [*path.removeprefix("/api/datasets/").split("/", 3), "", ""][:4]
        repo, rest = f"{owner}/{name}", unquote(rest)
        if repo not in self.repositories:
            return _error(404, "RepoNotFound", "Repository not found")
        branches = self.repositories[repo]["branches"]
        if method == "POST" and action == "branch":
            if rest in branches:
                return _error(409, "", "Reference already exists")
            branches[rest] = list(branches["main"])
            return 200, {}, {}
        branch = rest or "main"
        if branch not in branches:
            return _error(404, "RevisionNotFound", f"Invalid rev id: {branch}")
        if method == "GET" and action in ("", "revision"):
            return self._info(repo, branch, blobs="blobs" in query)
        if method == "GET" and action == "xet-write-token" and self.xet:
            expires = int(time.time()) + 3600
            return 200, {"casUrl": self.xet, "accessToken": "scripted", "exp": expires}, {}
        if method == "POST" and action == "preupload":
            return self._preupload(repo, branch, json.loads(body))
        if method == "POST" and action == "commit":
            return self._receive(repo, branch, body, headers)
        return _error(404, "", "Not Found")

    def _create(self, value: dict[str, Any]) -> Reply:
        assert value["type"] == "dataset" and value["visibility"] in ("private", "public"), value
        repo = f"{value['organization']}/{value['name']}"
        if value["organization"] != OWNER:
            return _error(
                403, "", f"You don't have the rights to create a dataset under {value['organization']}"
            )
        if repo in self.repositories:
            return _error(409, "", "You already created this dataset repo")
        self.add(repo, private=value["visibility"] == "private")
        return 200, {"url": f"{self.address}/datasets/{repo}"}, {}

    def _info(self, repo: str, branch: str, *, blobs: bool) -> Reply:
        siblings = []
        for name, content in self.files(repo, branch).items():
            sibling: dict[str, Any] = {"rfilename": name}
            if blobs:
                sibling |= {"size": len(content), "blobId": _blob_id(self._pointer(content))}
                if self._is_large(content):
                    sibling["lfs"] = {"size": len(content), "sha256": _sha256(content), "pointerSize": 130}
            siblings.append(sibling)
        head = self.commits(repo, branch)[-1]["oid"]
        private = self.repositories[repo]["private"]
        return 200, {"id": repo, "sha": head, "private": private, "siblings": siblings}, {}

    def _preupload(self, repo: str, branch: str, value: dict[str, Any]) -> Reply:
        there, files = self.files(repo, branch), []
        for file in value["files"]:
            assert len(base64.b64decode(file["sample"])) == min(file["size"], 512), file
            large = file["size"] >= self.large_from
            info = {"path": file["path"], "uploadMode": "lfs" if large else "regular", "shouldIgnore": False}
            if (content := there.get(file["path"])) is not None:
                info["oid"] = _sha256(content) if self._is_large(content) else _blob_id(content)
            files.append(info)
        return 200, {"files": files, "commitOid": self.commits(repo, branch)[-1]["oid"]}, {}

    def _batch(self, repo: str, value: dict[str, Any], headers: Any) -> Reply:
        assert headers["Accept"] == "application/vnd.git-lfs+json"
        assert (value["operation"], value["hash_algo"]) == ("upload", "sha256") and "basic" in value[
            "transfers"
        ]
        if repo not in self.repositories:
            return _error(404, "RepoNotFound", "Repository not found")
        objects = []
        for each in value["objects"]:
            url = f"{self.address}/storage/{each['oid']}?X-Amz-Signature=scripted"
            actions = {} if each["oid"] in self.objects else {"actions": {"upload": {"href": url}}}
            objects.append({**each, "authenticated": True, **actions})
        return 200, {"transfer": "basic", "objects": objects}, {}

    def _store(self, method: str, oid: str, body: bytes) -> Reply:
        assert method == "PUT"
        if _sha256(body) != oid:
            return 400, {"error": "BadDigest"}, {}
        self.objects[oid] = body
        return 200, {}, {}

    def _receive(self, repo: str, branch: str, body: bytes, headers: Any) -> Reply:
        assert headers["Content-Type"] == "application/x-ndjson"
        header, *operations = [json.loads(line) for line in body.splitlines()]
        assert header["key"] == "header" and header["value"]["summary"]
        if header["value"].get("parentCommit") not in (None, self.commits(repo, branch)[-1]["oid"]):
            return _error(412, "", "A commit has happened since. Please refresh and try again.")
        files = dict(self.files(repo, branch))
        for operation in operations:
            value = operation["value"]
            if operation["key"] == "file":
                assert value["encoding"] == "base64"
                files[value["path"]] = base64.b64decode(value["content"])
            elif operation["key"] == "lfsFile":
                if value["algo"] != "sha256" or value["oid"] not in self.objects:
                    return _error(
                        400, "", f"LFS pointer pointed to a file that does not exist: {value['path']}"
                    )
                files[value["path"]] = self.objects[value["oid"]]
            elif operation["key"] == "deletedFile":
                if files.pop(value["path"], None) is None:
                    return _error(404, "EntryNotFound", "A file with this name doesn't exist")
            else:
                return _error(400, "", f"unknown operation {operation['key']}")
        oid = self._commit(repo, branch, files, header["value"]["summary"])
        url = f"{self.address}/datasets/{repo}/commit/{oid}"
        return 200, {"success": True, "commitOid": oid, "commitUrl": url, "hookOutput": ""}, {}

    def _commit(self, repo: str, branch: str, files: Files, summary: str) -> str:
        commits = self.repositories[repo]["branches"][branch]
        oid = hashlib.sha1(f"{repo} {branch} {len(commits)} {summary}".encode()).hexdigest()
        commits.append({"oid": oid, "summary": summary, "files": files})
        return oid

    def _is_large(self, content: bytes) -> bool:
        return len(content) >= self.large_from

    def _pointer(self, content: bytes) -> bytes:
        """Return what git stores of a file: of a large one a pointer to it."""
        if not self._is_large(content):
            return content
        return (
            f"version https://git-lfs.github.com/spec/v1\noid sha256:{_sha256(content)}\nsize {len(content)}\n"
        ).encode()


def _validate(value: dict[str, Any]) -> Reply:
    assert value["repoType"] == "dataset"
    head = value["content"].split("---\n")
    try:
        metadata = yaml.safe_load(head[1]) if len(head) > 2 else None
    except yaml.YAMLError as problem:
        return 400, {"errors": [{"message": str(problem)}], "warnings": []}, {}
    warnings = [] if metadata else [{"message": "empty or missing yaml metadata in repo card"}]
    return 200, {"errors": [], "warnings": warnings}, {}


def _error(status: int, code: str, message: str) -> Reply:
    headers = {"X-Error-Message": message, **({"X-Error-Code": code} if code else {})}
    return status, {"error": message}, headers


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _blob_id(content: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


@contextmanager
def scripted_hub() -> Iterator[Hub]:
    """Run the Hub on a free loopback port until the end of the block."""
    hub = Hub()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def handle_any(self) -> None:
            url = urlsplit(self.path)
            hub.requests.append((self.command, url.path))
            body = self._body()
            if take_fault(hub.drop, self.command, url.path):
                self.close_connection = True
                return
            try:
                status, value, headers = hub.answer(
                    self.command, url.path, parse_qs(url.query), body, self.headers
                )
            except (AssertionError, KeyError, ValueError) as problem:
                status, value, headers = _error(400, "", f"not as the Hub wants it: {problem!r}")
            if take_fault(hub.drop_after, self.command, url.path):
                self.close_connection = True
                return
            sent = json.dumps(value).encode()
            self.send_response(status)
            for name, text in {"Content-Type": "application/json", **headers}.items():
                self.send_header(name, text)
            self.send_header("Content-Length", str(len(sent)))
            self.end_headers()
            self.wfile.write(sent)

        def _body(self) -> bytes:
            if self.headers.get("Transfer-Encoding") != "chunked":
                return self.rfile.read(int(self.headers.get("Content-Length") or 0))
            parts = []
            while size := int(self.rfile.readline(), 16):
                parts.append(self.rfile.read(size))
                self.rfile.readline()
            self.rfile.readline()
            return b"".join(parts)

        do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = handle_any

        def log_message(self, format: str, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    hub.address = f"http://127.0.0.1:{server.server_port}"
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
