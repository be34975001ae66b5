"""Start the flow of the current directory as an endpoint: choose its model, check it, serve the flow warm.

RAFT_CONNECTION and RAFT_MODEL take the place of the connection and model of the node ask_model, so that a
deployment chooses them and the flow stays as it is. Before the server starts, its connection is called once,
and each worker answers one question before it is Healthy: an endpoint that could only answer with errors
ends here, in one line. RAFT_CHECK=off spares both calls. See start.sh for the variables of the server.
"""

from __future__ import annotations

import asyncio
import atexit
import logging
import os
import shutil
import sys
import tempfile
from collections.abc import Mapping
from contextlib import redirect_stderr
from io import StringIO
from pathlib import Path
from typing import Any

import yaml

from tools.raft.errors import UserError, one_line
from tools.raft.models.check import model_answers, wants_check
from tools.raft.models.endpoint import Endpoint, environment

FLOW = "flow.dag.yaml"
NODE = "ask_model"
LOAD_ERROR = 4  # the exit status of a worker after which gunicorn ends, too, instead of starting another


def main() -> None:
    """Choose, check, and become the server. A UserError is one line and exit status 1."""
    logging.disable(logging.WARNING)  # how the check ends is said in one line
    try:
        env, extension = environment(), os.environ.get("EXTENSION", "local")
        folder = choose_model(Path.cwd(), env)
        os.environ["PROMPTFLOW_PROJECT_PATH"] = str(folder)
        if extension == "local":
            store_connections(folder, env)
        endpoint = find_endpoint(folder, extension)
        hint = "" if "RAFT_CONNECTION" in env else "RAFT_CONNECTION and RAFT_MODEL choose another"
        if not wants_check(env) or not asyncio.run(model_answers(endpoint, hint)):
            os.environ["RAFT_CHECK"] = "off"
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(error.status)
    finally:
        logging.disable(logging.NOTSET)
    print(f"serving {Path.cwd().name} with {endpoint}", flush=True)
    options = {
        "--workers": os.environ.get("WORKERS", "1"),
        "--threads": os.environ.get("THREADS", "64"),
        "--timeout": "300",
        "--bind": f"0.0.0.0:{os.environ.get('PORT', '8080')}",
    }
    app = f"deploy.serve:create_app({extension!r})"
    words = [word for option in options.items() for word in option]
    os.execv(sys.executable, [sys.executable, "-m", "gunicorn", *words, app])


def choose_model(folder: Path, env: Mapping[str, str]) -> Path:
    """Return a folder whose flow has the connection and model that RAFT_CONNECTION and RAFT_MODEL name.

    If they are not set, that is `folder` itself. Otherwise it is a new one, of links to everything beside the
    flow: where Azure ML mounts a flow, it cannot be written. Raise UserError if the model is missing.
    """
    connection, model = (env.get(name, "").strip() for name in ("RAFT_CONNECTION", "RAFT_MODEL"))
    flow, node = read_flow(folder)
    if connection and not model and connection != node["connection"]:
        raise UserError(
            f"RAFT_CONNECTION is {connection}, but RAFT_MODEL is not set: name its model, on Azure OpenAI "
            "the deployment"
        )
    if not connection and not model:
        return folder
    node["connection"] = connection or node["connection"]
    if model:
        node["inputs"] |= {"deployment_name": model, "model": model}
    parent = tempfile.mkdtemp(prefix="flow-")
    atexit.register(shutil.rmtree, parent, ignore_errors=True)
    chosen = Path(parent) / folder.resolve().name  # the flow's name in metrics and traces
    chosen.mkdir()
    for path in folder.resolve().iterdir():
        if path.name not in (FLOW, ".promptflow"):
            (chosen / path.name).symlink_to(path)
    (chosen / FLOW).write_text(yaml.safe_dump(flow, sort_keys=False), encoding="utf-8")
    return chosen


def read_flow(folder: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the graph of the flow and its node ask_model, of variants the default one.

    Raise UserError if there is none.
    """
    file = folder / FLOW
    try:
        flow = yaml.safe_load(file.read_text(encoding="utf-8"))
        node = next(node for node in flow["nodes"] if node["name"] == NODE)
        if node.get("use_variants"):
            variants = flow["node_variants"][NODE]
            node = variants["variants"][variants["default_variant_id"]]["node"]
    except (OSError, yaml.YAMLError) as error:
        raise UserError(f"{file} cannot be read: {one_line(error)}") from None
    except (KeyError, StopIteration, TypeError):
        raise UserError(f"{file} has no node {NODE}, whose connection could be served") from None
    return flow, node


def store_connections(folder: Path, env: Mapping[str, str]) -> None:
    """Create promptflow's connections from connections/*.yaml and the environment, all that are complete.

    Raise UserError if the one of the flow is not.
    """
    from tools.connections import create_connections

    status = dict(create_connections(env=env)).get(read_flow(folder)[1]["connection"], "")
    if status.startswith("skipped: "):
        raise UserError(status.removeprefix("skipped: "))


def find_endpoint(folder: Path, extension: str) -> Endpoint:
    """Return the endpoint of the flow, whose connection is found in the way promptflow's server finds it.

    Raise UserError if there is no such connection, or it cannot be read.
    """
    from promptflow.core import Flow
    from promptflow.core._connection import _Connection
    from promptflow.core._serving.extension.extension_factory import ExtensionFactory
    from promptflow.core._serving.flow_invoker import FlowInvoker
    from promptflow.core._utils import init_executable

    from tools.connections import promptflow_endpoint

    class Connections(FlowInvoker):
        """promptflow's invoker, as far as it gets connections; nodes are loaded later, in the worker."""

        def _init_executor(self, *_: Any) -> None:
            pass

    node = read_flow(folder)[1]
    name = node["connection"]
    try:
        source = ExtensionFactory.create_extension(logging.getLogger(__name__), extension_type=extension)
        flow = init_executable(flow_path=folder / FLOW, working_dir=folder)
        data, names = source.get_override_connections(flow)
        found = Connections(
            flow=Flow.load(folder / FLOW),
            connection_provider=source.get_connection_provider(),
            connections=data,
            connections_name_overrides=names,
            credential=source.get_credential(),
        ).connections[name]
        connection = _Connection._from_execution_connection_dict(name, found)
    except Exception as error:  # of the store, the workspace, or the sign-in
        raise UserError(f"connection {name} of the flow cannot be read: {one_line(error)}") from None
    key = "deployment_name" if found["type"] == "AzureOpenAIConnection" else "model"
    return promptflow_endpoint(connection, node["inputs"].get(key, ""))


def create_app(extension: str) -> Any:
    """Return promptflow's app for a worker of gunicorn, which has answered one question.

    A UserError is one line, and ends the server.
    """
    try:
        return load_app(extension)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr, flush=True)
        sys.exit(LOAD_ERROR)


def load_app(extension: str) -> Any:
    """Load promptflow's app and have it answer one question: the first is slower than those after it.

    Raise UserError if the flow cannot be loaded or has no answer.
    """
    from promptflow._utils.logger_utils import LoggerFactory
    from promptflow.contracts.run_info import Status
    from promptflow.core._serving.app import create_app
    from promptflow.exceptions import PromptflowException

    from tools.raft.models.openai_sdk import clean

    try:
        app = create_app(extension_type=extension)
        app.init_invoker_if_not_exist()  # which promptflow puts off if the workspace does not let it in
    except PromptflowException as error:
        raise UserError(f"the flow cannot be loaded: {one_line(error)}") from None
    if wants_check(os.environ):
        # As a request, for the nodes that look at it, but past the collection of requests and answers.
        question = {"question": "What are these documents about?", "chat_history": []}
        # A failure is said once, below. `logging.disable` would silence promptflow's loggers for good, since
        # `logging` does not manage them.
        request = app.test_request_context("/score", method="POST", json={})
        with LoggerFactory.disable_all_loggers(), redirect_stderr(StringIO()), request:
            run = app.flow_invoker.invoke(question, disable_input_output_logging=True).run_info
        if run.status != Status.Completed:
            message = (run.error or {}).get("message", "no reason given")
            for connection in app.flow_invoker.connections.values():
                message = clean(message, str(connection["value"].get("api_key") or ""))
            raise UserError(f"the flow has no answer: {one_line(message)}")
    return app


if __name__ == "__main__":
    main()
