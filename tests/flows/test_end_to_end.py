"""The page "promptflow from end to end" of the README: every command as pasted, documents to comparison."""

from __future__ import annotations

import contextlib
import json
import re
import shlex
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.conftest import promptflow_environment
from tests.readme import commands, section
from tests.scripted_endpoint import scripted_endpoint
from tests.tiny import save_tiny_model
from tools.raft.files import PROJECT, read_log, write_jsonl
from tools.raft.generate.pipeline import build_dataset
from tools.raft.generate.settings import DatasetSettings
from tools.raft.ingest.corpus import collect_chunks
from tools.raft.models.endpoint import Endpoint

ROOT = PROJECT
PAGE = commands(section(ROOT / "README.md", "promptflow from end to end"))
NAME = re.compile(r"([\w.]+)=")


def flow_inputs(flow: Path) -> dict[str, Any]:
    return yaml.safe_load((flow / "flow.dag.yaml").read_text(encoding="utf-8"))["inputs"]


def options(command: list[str], option: str) -> list[str]:
    """Return the values that follow an option."""
    if option not in command:
        return []
    rest = command[command.index(option) + 1 :]
    end = next((i for i, word in enumerate(rest) if word.startswith("--")), len(rest))
    return rest[:end]


@pytest.mark.parametrize("command", [line for line in PAGE if line.startswith("pf ")])
def test_each_command_names_what_is_there(command: str) -> None:
    words = shlex.split(command)
    run: dict[str, Any] = {}
    (flow,) = options(words, "--flow") or options(words, "--source") or [""]
    if file := options(words, "--file"):
        path = ROOT / file[0]
        if "connection.yaml" in file[0]:
            return
        run = yaml.safe_load(path.read_text(encoding="utf-8"))
        flow = str(path.parent.relative_to(ROOT) / run["flow"])
    if not flow:
        assert words[:3] == ["pf", "run", "show-metrics"]
        return
    inputs = flow_inputs(ROOT / flow)
    mapped = [word.removeprefix("column_mapping.") for word in options(words, "--set")]
    given = options(words, "--inputs") + options(words, "--column-mapping") + mapped
    names = {match[1] for word in given if (match := NAME.match(word))}
    names |= set(() if options(words, "--column-mapping") else run.get("column_mapping", {}))
    assert names <= set(inputs), "an unknown input is ignored without a word"


def serve_and_ask(command: str, env: Mapping[str, str]) -> dict[str, Any]:
    """Serve the flow on a free port until it has answered a question; return the answer."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = "exec " + command.replace("--port 8080", f"--port {port} --skip-open-browser")
    server = subprocess.Popen(["bash", "-c", command], cwd=ROOT, env=env)
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}/score",
        data=json.dumps({"question": "How heavy is a noctule?", "chat_history": []}).encode(),
        headers={"Content-Type": "application/json"},
    )
    try:
        for _ in range(120):
            with (
                contextlib.suppress(urllib.error.URLError),
                urllib.request.urlopen(request, timeout=60) as reply,
            ):
                return dict(json.load(reply))
            assert server.poll() is None, "the server ended"
            time.sleep(0.5)
        raise AssertionError("no answer in a minute")
    finally:
        server.terminate()
        server.wait()


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_the_page_leads_from_documents_to_a_comparison(tmp_path: Path) -> None:
    build = tmp_path / "build"
    with scripted_endpoint() as teacher, scripted_endpoint() as chat:
        env = {
            **promptflow_environment(tmp_path / "home"),
            "COMPATIBLE_BASE_URL": teacher.url, "COMPATIBLE_API_KEY": "any",
            "RAFT_CACHE_DIR": str(tmp_path / "cache"),
        }  # fmt: skip

        def run(command: str, **more: str) -> str:
            done = subprocess.run(
                ["bash", "-c", command], cwd=ROOT, env={**env, **more}, capture_output=True, text=True, timeout=400
            )  # fmt: skip
            assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
            return done.stdout

        run("python -m tools connect compatible")
        tiny = save_tiny_model(tmp_path / "tiny")
        config = json.loads((tiny / "config.json").read_text(encoding="utf-8"))
        config["max_position_embeddings"] = 16_384  # its tokens are bytes
        (tiny / "config.json").write_text(json.dumps(config), encoding="utf-8")
        for command in PAGE:
            # What differs from the page: the addresses of the scripted models, and a training of a moment.
            command = command.replace("$PWD/build", str(build)).replace("build/tuned/", f"{build}/tuned/")
            command = command.replace("model=embedded", f"model={tiny}")
            if "flows/finetune" in command:
                for name in ("train", "valid"):
                    rows = read_log(build / "dataset" / f"{name}.chat.jsonl")
                    write_jsonl(tmp_path / "few" / f"{name}.chat.jsonl", rows[:10])
                command = command.replace(f"{build}/dataset", str(tmp_path / "few"))
            if "tools connect embedded" in command and "--port" in command:
                continue  # it is the same scripted model
            if "tools connect embedded" in command:
                command = f"pf connection create --file connections/embedded.yaml --set base_url={chat.url}"
            if "connection.yaml" in command:
                command += f" --set base_url={chat.url}"
            if "pf flow serve" in command:
                assert serve_and_ask(command, env)["sources"]
                continue
            asks = "ask_questions" in command or "raft_generate" in command
            run(command, **({"RAFT_CONNECTION": "compatible", "RAFT_MODEL": "m"} if asks else {}))

        def shown(name: str) -> dict[str, Any]:
            run_ = json.loads(run(f"pf run show --name {name}"))
            assert run_["status"] == "Completed"
            metrics = run_["properties"]["system_metrics"]
            assert not metrics.get("__pf__.lines.failed")
            return metrics

        for tokens in ("prompt_tokens", "completion_tokens"):
            assert shown("questions")[tokens] + shown("records")[tokens] == teacher.stats()[tokens]
            assert shown("rag")[tokens] + shown("raft")[tokens] == chat.stats()[tokens] > 0
        corpus = collect_chunks([ROOT / "data" / "documents"], chunk_size=160)
        build_dataset(
            corpus,
            Endpoint(base_url=teacher.url, model="m"),
            tmp_path / "expected",
            DatasetSettings(questions=2, chunk_size=160, formats=("chat", "eval")),
        )
    for name in ("raft.jsonl", "rejected.jsonl", "train.chat.jsonl", "valid.jsonl", "test.eval.jsonl"):
        assert (build / "dataset" / name).read_bytes() == (tmp_path / "expected" / name).read_bytes(), name
    assert read_log(build / "tuned" / "log.jsonl") or (build / "tuned" / "job.json").is_file()
    comparison = json.loads((build / "report" / "comparison.json").read_text(encoding="utf-8"))
    questions = read_log(build / "dataset" / "test.eval.jsonl")
    assert comparison["questions"] == len(questions) > 10
    assert comparison["settings"]["different_requests"] == 0, "the same documents, prompts and settings"
    assert comparison["settings"]["models"]["raft-scores"] == "raft"
    assert comparison["settings"]["seen_in_training"] == 0
    metrics = json.loads(run("pf run show-metrics --name comparison"))
    assert metrics["f1.raft-scores.difference"] == 0, "the same scripted model answered for both"
    assert metrics["f1.raft-scores.pairs"] == len(questions)
