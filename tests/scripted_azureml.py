"""A scripted Azure ML workspace on loopback: HTTPS, real requests, faults on demand.

One port serves the resource manager (jobs, data, models, datastores, endpoints, marketplace), the workspace's
run history and MLflow store, its blob storage, and the managed identity from which DefaultAzureCredential gets
a token. Paths, fields and status codes follow the REST reference, https://learn.microsoft.com/rest/api/azureml
(2024-10-01-preview for fine-tuning jobs), as azure-ai-ml 1.35.2 uses it; the blob service supports only an
upload. To the project it looks like Azure, except for the addresses in `environment()`.
"""

from __future__ import annotations

import datetime
import ipaddress
import json
import ssl
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from tests.scripted_service import take_fault

TOKEN = "scripted-token-6f1c"  # secrets that must never appear in a file or a message
SAS_SIGNATURE = "scripted-signature-93ab"
ENDPOINT_KEY = "scripted-endpoint-key-5d20"
SECRETS = (TOKEN, SAS_SIGNATURE, ENDPOINT_KEY)

SUBSCRIPTION, GROUP, WORKSPACE = "00000000-0000-0000-0000-000000000001", "raft-rg", "raft-ws"
WORKSPACE_ID = "00000000-0000-0000-0000-0000000000aa"
ROOT = (
    f"/subscriptions/{SUBSCRIPTION}/resourceGroups/{GROUP}"
    f"/providers/Microsoft.MachineLearningServices/workspaces/{WORKSPACE}"
)
RUNNING = ("NotStarted", "Queued", "Preparing", "Running", "Finalizing")

Reply = tuple[int, Any, dict[str, str]]  # status, JSON (or bytes), headers


class Azure:
    """The state of the workspace, and the faults it is set to produce."""

    def __init__(self) -> None:
        self.jobs: dict[str, dict[str, Any]] = {}
        self.data: dict[tuple[str, str], dict[str, Any]] = {}
        self.endpoints: dict[str, dict[str, Any]] = {}
        self.subscriptions: dict[str, dict[str, Any]] = {}
        self.models: dict[str, dict[str, Any]] = {}
        self.blobs: dict[str, bytes] = {}
        self.blob_metadata: dict[str, dict[str, str]] = {}
        self.metrics: dict[str, float] = {"train_loss": 0.42, "eval_loss": 0.61}
        self.requests: list[tuple[str, str]] = []  # method and path
        self.bodies: dict[str, list[Any]] = {}  # by the kind of resource: job, data, endpoint, subscription
        self.states = list(RUNNING)  # the states a job goes through, one per poll
        self.ends_as = "Completed"
        self.error = "CUDA out of memory on rank 0"
        self.refuse: dict[tuple[str, str], Reply] = {}  # (method, part of the path) → reply
        self.drop: Counter[tuple[str, str]] = Counter()  # how often the connection is closed without a reply
        self.drop_after: Counter[tuple[str, str]] = Counter()  # … after the request was processed
        self.hold_after: Counter[tuple[str, str]] = (
            Counter()
        )  # … held for up to a minute after the request was processed
        self.signed_in = True
        self.expired = False  # the service no longer accepts the token
        self.held = threading.Event()  # set to release the held requests
        self.host = self.plain = ""  # addresses over HTTPS and HTTP
        self.certificate = Path()

    # for assertions

    def created(self, kind: str) -> int:
        """Return the number of distinct resources of a kind that were created."""
        return {"job": len(self.jobs), "data": len(self.data), "endpoint": len(self.endpoints)}[kind]

    def count(self, method: str, part: str) -> int:
        """Return the number of requests with a method and with a text in their path."""
        return sum(1 for verb, path in self.requests if verb == method and part in path)

    # the service

    def answer(
        self, method: str, path: str, query: Mapping[str, list[str]], body: bytes, headers: Any
    ) -> Reply:
        """Answer one request."""
        if path == "/identity":
            return self._identity()
        if path == "/discovery":
            return 200, {"api": self.host, "history": self.host}, {}
        if path.startswith("/blob/"):
            return self._blob(method, path, query, body, headers)
        for (verb, part), refusal in self.refuse.items():
            if verb == method and part in path:
                return refusal
        if self.expired:
            return _error(401, "ExpiredAuthenticationToken", f"The access token has expired: Bearer {TOKEN}.")
        if headers.get("Authorization") != f"Bearer {TOKEN}":
            return _error(401, "InvalidAuthenticationToken", "The access token is missing.")
        if path.startswith("/history/"):
            return self._history(path)
        if path.startswith("/mlflow/"):
            return self._mlflow(path, query)
        if not path.startswith(ROOT):
            return _error(404, "ResourceNotFound", f"There is no {path}.")
        parts = path[len(ROOT) :].strip("/").split("/")
        kind = parts[0]
        value = json.loads(body) if body else {}
        route = getattr(self, f"_{kind.lower()}", None) if kind else self._workspace
        if route is None:
            return _error(404, "ResourceNotFound", f"There is no {path}.")
        reply: Reply = route(method, parts[1:], value)
        return reply

    def _identity(self) -> Reply:
        if not self.signed_in:
            return 400, {"statusCode": 400, "message": "The identity's sign-in has expired."}, {}
        soon = str(int(time.time()) + 3600)
        return 200, {"access_token": TOKEN, "expires_on": soon, "token_type": "Bearer", "resource": "x"}, {}

    def _workspace(self, method: str, parts: list[str], value: Any) -> Reply:
        properties = {
            "workspaceId": WORKSPACE_ID,
            "discoveryUrl": f"{self.host}/discovery",
            "mlFlowTrackingUri": self.host.replace("https:", "azureml:") + "/mlflow/v1.0" + ROOT,
        }
        return 200, {"id": ROOT, "name": WORKSPACE, "location": "eastus2", "properties": properties}, {}

    def _jobs(self, method: str, parts: list[str], value: Any) -> Reply:
        name = parts[0]
        if method == "PUT":
            if name in self.jobs:  # a job cannot be changed; a repeated request returns it
                return 200, self._job(name), {}
            self.bodies.setdefault("job", []).append(value)
            self.jobs[name] = {"properties": value["properties"], "polls": 0, "status": ""}
            return 201, self._job(name), {}
        if name not in self.jobs:
            return _error(404, "NotFound", f"There is no job {name}.")
        if parts[1:] == ["cancel"]:
            self.jobs[name]["status"] = "Canceled"
            return 200, {}, {}
        job = self.jobs[name]
        if not job["status"] and method == "GET":
            job["polls"] += 1
        return 200, self._job(name), {}

    def _job(self, name: str) -> dict[str, Any]:
        job = self.jobs[name]
        # The SDK sends two requests per poll; the second uses the API version that has fine-tuning jobs.
        step = max(job["polls"] - 1, 0) // 2
        status = job["status"] or (self.states[step] if step < len(self.states) else self.ends_as)
        if status in ("Completed", "Failed", "Canceled"):
            job["status"] = status
        if status == "Completed":
            registered = job["properties"]["outputs"]["registered_model"]["assetName"]
            self.models[registered] = {"version": "1"}
        return {
            "id": f"{ROOT}/jobs/{name}",
            "name": name,
            "type": "Microsoft.MachineLearningServices/workspaces/jobs",
            "properties": {**job["properties"], "status": status},
        }

    def _data(self, method: str, parts: list[str], value: Any) -> Reply:
        name, version = parts[0], parts[2]
        if method == "PUT":
            self.bodies.setdefault("data", []).append(value)
            self.data[name, version] = value
        if (name, version) not in self.data:
            return _error(404, "NotFound", f"There is no data {name}:{version}.")
        asset = self.data[name, version]
        return 200, {"id": f"{ROOT}/data/{name}/versions/{version}", "name": version, **asset}, {}

    def _datastores(self, method: str, parts: list[str], value: Any) -> Reply:
        if parts[1:] == ["listSecrets"]:
            sas = f"sv=2022-11-02&sr=c&sp=racwl&sig={SAS_SIGNATURE}"
            return 200, {"secretsType": "Sas", "sasToken": sas}, {}
        properties = {
            "datastoreType": "AzureBlob",
            "accountName": "blob",
            "containerName": "workspace",
            "endpoint": "core.windows.net",
            "protocol": "https",
            "isDefault": True,
            "credentials": {"credentialsType": "Sas"},
        }
        return 200, {"id": f"{ROOT}/datastores/{parts[0]}", "name": parts[0], "properties": properties}, {}

    def _models(self, method: str, parts: list[str], value: Any) -> Reply:
        name = parts[0]
        if name not in self.models:
            return _error(404, "NotFound", f"There is no model {name}.")
        properties = {"modelType": "mlflow_model", "modelUri": "azureml://jobs/x/outputs/y", "flavors": {}}
        model = {"id": f"{ROOT}/models/{name}/versions/1", "name": "1", "properties": properties}
        if len(parts) == 1:
            return (
                200,
                {"id": f"{ROOT}/models/{name}", "name": name, "properties": {"latestVersion": "1"}},
                {},
            )
        return (200, {"value": [model]}, {}) if len(parts) == 2 else (200, model, {})

    def _serverlessendpoints(self, method: str, parts: list[str], value: Any) -> Reply:
        name = parts[0]
        if method == "PUT":
            self.bodies.setdefault("endpoint", []).append(value)
            self.endpoints[name] = {
                **value,
                "id": f"{ROOT}/serverlessEndpoints/{name}",
                "name": name,
                "properties": {
                    **value["properties"],
                    "authMode": "Key",
                    "provisioningState": "Succeeded",
                    "inferenceEndpoint": {
                        "uri": f"https://{name}.eastus2.models.ai.azure.com",
                        "headers": {},
                    },
                },
            }
        if name not in self.endpoints:
            return _error(404, "NotFound", f"There is no endpoint {name}.")
        if method == "DELETE":
            del self.endpoints[name]
            return 204, b"", {}
        if parts[1:] == ["listKeys"]:
            return 200, {"primaryKey": ENDPOINT_KEY, "secondaryKey": ENDPOINT_KEY}, {}
        return 200, self.endpoints[name], {}

    def _marketplacesubscriptions(self, method: str, parts: list[str], value: Any) -> Reply:
        name = parts[0]
        if method == "PUT":
            self.bodies.setdefault("subscription", []).append(value)
            plan = {"publisherId": "meta", "offerId": "llama", "planId": "pay-as-you-go"}
            state = {"marketplacePlan": plan, "marketplaceSubscriptionStatus": "Subscribed"}
            properties = {**value["properties"], **state, "provisioningState": "Succeeded"}
            self.subscriptions[name] = {"id": f"{ROOT}/x/{name}", "name": name, "properties": properties}
        if name not in self.subscriptions:
            return _error(404, "NotFound", f"There is no subscription {name}.")
        return 200, self.subscriptions[name], {}

    def _history(self, path: str) -> Reply:
        name = path.rsplit("/", 1)[1]
        if name not in self.jobs:
            return _error(404, "NotFound", f"There is no run {name}.")
        status = self.jobs[name]["status"]
        failed = {"error": {"code": "UserError", "message": self.error}} if status == "Failed" else None
        return 200, {"runId": name, "status": status, "error": failed}, {}

    def _mlflow(self, path: str, query: Mapping[str, list[str]]) -> Reply:
        name = query.get("run_id", [""])[0]
        if not path.endswith("/api/2.0/mlflow/runs/get") or name not in self.jobs:
            return _error(404, "NotFound", "There is no such run.")
        now = int(time.time() * 1000)
        metrics = [{"key": k, "value": v, "timestamp": now, "step": 30} for k, v in self.metrics.items()]
        return 200, {"run": {"info": {"run_id": name}, "data": {"metrics": metrics}}}, {}

    def _blob(
        self, method: str, path: str, query: Mapping[str, list[str]], body: bytes, headers: Any
    ) -> Reply:
        if query.get("sig") != [SAS_SIGNATURE]:
            return 403, b"", {"x-ms-error-code": "AuthenticationFailed"}
        now = datetime.datetime.now(datetime.timezone.utc).strftime("%a, %d %b %Y %H:%M:%S GMT")
        reply_headers = {"ETag": '"0x1"', "Last-Modified": now, "x-ms-request-server-encrypted": "true"}
        if method == "PUT" and query.get("comp") == ["metadata"]:
            self.blob_metadata[path] = {
                key[len("x-ms-meta-") :]: value
                for key, value in headers.items()
                if key.startswith("x-ms-meta-")
            }
            return 200, b"", reply_headers
        if method == "PUT":
            self.blobs[path] = body
            return 201, b"", reply_headers
        if path not in self.blobs:
            return 404, b"", {"x-ms-error-code": "BlobNotFound"}
        metadata = {f"x-ms-meta-{key}": value for key, value in self.blob_metadata.get(path, {}).items()}
        return 200, b"", {**reply_headers, **metadata, "x-ms-blob-type": "BlockBlob"}


def _error(status: int, code: str, message: str) -> Reply:
    return status, {"error": {"code": code, "message": message}}, {}


@contextmanager
def scripted_azureml(folder: Path, azure: Azure | None = None) -> Iterator[Azure]:
    """Run the service until the end of the block; its certificate is written into `folder`."""
    certificate = _certificate(folder)
    azure = azure or Azure()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def handle_any(self) -> None:
            url = urlsplit(self.path)
            path = unquote(url.path)
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            azure.requests.append((self.command, path))
            if take_fault(azure.drop, self.command, path):
                return self._hang_up()
            status, value, headers = azure.answer(self.command, path, parse_qs(url.query), body, self.headers)
            if take_fault(azure.hold_after, self.command, path):
                azure.held.wait(60)
            if take_fault(azure.drop_after, self.command, path):
                return self._hang_up()
            sent = value if isinstance(value, bytes) else json.dumps(value).encode()
            self.send_response(status)
            for key, text in {"Content-Type": "application/json", **headers}.items():
                self.send_header(key, text)
            self.send_header("Content-Length", str(len(sent)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(sent)
            return None

        def _hang_up(self) -> None:
            self.close_connection = True

        do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = do_PATCH = handle_any

        def log_message(self, format: str, *args: Any) -> None:
            pass

    server, plain = (
        ThreadingHTTPServer(("127.0.0.1", 0), Handler),
        ThreadingHTTPServer(("127.0.0.1", 0), Handler),
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    azure.host = f"https://127.0.0.1:{server.server_address[1]}"
    azure.plain = f"http://127.0.0.1:{plain.server_address[1]}"
    azure.certificate = certificate
    threads = [
        threading.Thread(target=each.serve_forever, args=(0.05,), daemon=True) for each in (server, plain)
    ]
    for thread in threads:
        thread.start()
    try:
        yield azure
    finally:
        azure.held.set()
        for each in (server, plain):
            each.shutdown()
            each.server_close()


def environment(azure: Azure) -> dict[str, str]:
    """Return the environment variables that point azure-ai-ml and azure-identity to the service."""
    return {
        "AZURE_SUBSCRIPTION_ID": SUBSCRIPTION,
        "AZURE_RESOURCE_GROUP": GROUP,
        "AZUREML_WORKSPACE_NAME": WORKSPACE,
        "AZUREML_DEV_URL_MFE": azure.host,
        "REQUESTS_CA_BUNDLE": str(azure.certificate),
        # A managed identity as in an App Service, which serves tokens over plain HTTP.
        "IDENTITY_ENDPOINT": f"{azure.plain}/identity",
        "IDENTITY_HEADER": "scripted",
        "AZURE_TOKEN_CREDENTIALS": "ManagedIdentityCredential",
        "NO_PROXY": "127.0.0.1",
    }


def _certificate(folder: Path) -> Path:
    """Write a certificate for 127.0.0.1 and its key to one file."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.oid.NameOID.COMMON_NAME, "scripted Azure ML")])
    now = datetime.datetime.now(datetime.timezone.utc)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), False
        )
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), True)
        .sign(key, hashes.SHA256())
    )
    file = folder / "azure.pem"
    file.write_bytes(
        certificate.public_bytes(serialization.Encoding.PEM)
        + key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return file
