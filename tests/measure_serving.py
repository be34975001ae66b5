"""Measure a chat endpoint against an instant model: seconds until healthy, memory, requests with 64 clients.

    python -m tests.measure_serving workflow [--python ENV/bin/python]     python -m workflows.serve
    python -m tests.measure_serving flow                                    pf flow serve
    python -m tests.measure_serving gunicorn                                deploy/start.sh (needs gunicorn)

Each server runs in a process group of its own, with a scripted model in another. What is measured is the whole
group's resident memory (Linux), and requests as clients see them.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from pathlib import Path

from tests.scripted_endpoint import scripted_endpoint
from tools.raft.files import PROJECT

CLIENTS = 64


def command(server: str, python: str, url: str, port: int) -> tuple[list[str], dict[str, str]]:
    """Return what starts a server, and its environment."""
    if server == "workflow":
        options = ["--base-url", url, "--model", "m", "--port", str(port)]
        return [python, "-m", "workflows.serve", *options], {}
    home = Path(tempfile.mkdtemp())
    (home / "pf.yaml").write_text("telemetry:\n  enabled: false\ntrace:\n  destination: none\n")
    env = {
        "PF_HOME_DIRECTORY": str(home), "HOME": str(home), "EMBEDDED_BASE_URL": url, "EMBEDDED_API_KEY": "none",
        "PYTHON_KEYRING_BACKEND": "keyrings.alt.file.PlaintextKeyring",
        "PATH": f"{Path(python).parent}{os.pathsep}{os.environ['PATH']}",
    }  # fmt: skip
    subprocess.run(
        [python, "-m", "tools", "connect", "embedded"], cwd=PROJECT, env={**os.environ, **env}, check=True
    )
    if server == "gunicorn":
        return ["sh", "deploy/start.sh"], {**env, "PORT": str(port)}
    pf = [python, "-m", "promptflow._cli._pf.entry", "flow", "serve", "--source", ".", "--port", str(port)]
    return [*pf, "--host", "127.0.0.1", "--skip-open-browser"], env


def is_healthy(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=2) as reply:
            return reply.status == 200
    except OSError:
        return False


def resident_mb(group: int) -> float:
    """Return the resident memory of a process group."""
    listed = subprocess.run(["ps", "-eo", "pgid=,rss="], capture_output=True, text=True, check=True).stdout
    rows = (line.split() for line in listed.splitlines())
    return sum(int(rss) for pgid, rss in rows if int(pgid) == group) / 1024


def ask(port: int, questions: list[str], seconds: list[float], failed: list[int]) -> None:
    """Ask one question after another over one connection."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
    for question in questions:
        body = json.dumps({"question": question, "chat_history": []})
        started = time.monotonic()
        connection.request("POST", "/score", body, {"Content-Type": "application/json"})
        response = connection.getresponse()
        response.read()
        seconds.append(time.monotonic() - started)
        if response.status != 200:
            failed.append(response.status)
    connection.close()


def load(port: int, each: int, clients: int = CLIENTS) -> dict[str, float]:
    """Ask `each` questions per client, all of them different."""
    seconds: list[float] = []
    failed: list[int] = []
    threads = [
        threading.Thread(
            target=ask,
            args=(
                port,
                [f"How far apart are the bars of gate {client}-{i}?" for i in range(each)],
                seconds,
                failed,
            ),
        )
        for client in range(clients)
    ]
    started = time.monotonic()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    wall = time.monotonic() - started
    points = statistics.quantiles(seconds, n=20)
    return {
        "requests_per_second": round(len(seconds) / wall, 1),
        "p50": round(points[9], 3),
        "p95": round(points[18], 3),
        "failed": len(failed),
    }


def main() -> None:
    """Measure one server, and print a line of JSON."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("server", choices=("workflow", "flow", "gunicorn"))
    parser.add_argument("--python", default=sys.executable)
    parser.add_argument("--each", type=int, default=4, help="requests per client")
    parser.add_argument("--port", type=int, default=8950)
    options = parser.parse_args()
    with scripted_endpoint() as endpoint:
        words, env = command(options.server, options.python, endpoint.url, options.port)
        started = time.monotonic()
        process = subprocess.Popen(
            words, cwd=PROJECT, env={**os.environ, **env}, start_new_session=True,
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        try:
            while not is_healthy(options.port):
                if process.poll() is not None:
                    raise SystemExit(f"{options.server} ended with status {process.returncode}")
                time.sleep(0.05)
            result: dict[str, object] = {"server": options.server}
            result["healthy_after"] = round(time.monotonic() - started, 1)
            first = load(options.port, 1, clients=2)
            result["first_request"] = first["p95"]
            result["memory_mb"] = round(resident_mb(process.pid))
            result |= load(options.port, options.each)
            result["memory_after_mb"] = round(resident_mb(process.pid))
        finally:
            os.killpg(process.pid, signal.SIGTERM)
            process.wait(20)
    print(json.dumps(result))


if __name__ == "__main__":
    main()
