"""Install the project and everything it needs into .venv.

    python install.py          what `make demo` needs
    python install.py --dev    also what `make test` and `make lint` need

It needs nothing but Python 3.10 to 3.13. Run it again after an interruption to resume: downloads are cached.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent
VENV = ROOT / ".venv"
LOG = VENV / "install.log"
UV = "uv==0.13.9"
DEV = "requirements-dev.txt"
OLDEST, NEWEST = (3, 10), (3, 13)
# What the project imports, in two processes side by side.
_USED = (
    ("torch", "sentence_transformers", "transformers.models.llama.modeling_llama"),
    (
        "promptflow.client",
        "azure.ai.ml",
        "openai",
        "faiss",
        "bm25s",
        "pyarrow.parquet",
        "matplotlib.figure",
        "bs4",
    ),
)
_IMPORT = """
import importlib, importlib.util, sys
for name in sys.argv[1:]:
    if importlib.util.find_spec(name.partition(".")[0]):
        importlib.import_module(name)
"""
_LOG_EVERY = 15.0  # seconds between two lines where there is no terminal

# Settings of pip that say where packages come from, or how to get there. uv does not read them.
_SOURCES = re.compile(
    r"\.(index-url|extra-index-url|find-links|no-index|proxy|cert|client-cert|trusted-host)="
)
# Whoever sets these has a uv that knows where to find torch; otherwise uv takes it from PyTorch's own index.
_UV_SOURCES = (
    "UV_DEFAULT_INDEX",
    "UV_INDEX",
    "UV_INDEX_URL",
    "UV_EXTRA_INDEX_URL",
    "UV_FIND_LINKS",
    "UV_OFFLINE",
)
_ACTIVITY = re.compile(
    r"\s*(Collecting|Downloading|Processing|Using cached|Building|Resolved|Prepared|Installing) (\S+)(.*)"
)


class InstallError(Exception):
    """What went wrong, in a few lines for the user."""


def main() -> int:
    """Install what the options ask for; return the exit status."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--dev", action="store_true", help="also install what the tests and `make lint` need")
    parser.add_argument(
        "--with",
        dest="installer",
        choices=("uv", "pip"),
        help="by default uv (installed if missing), but pip if that has package sources of its own",
    )
    options = parser.parse_args()
    started = time.monotonic()
    try:
        check_python()
        python = create_environment()
        install(python, DEV if options.dev else "requirements.lock", options.installer)
    except InstallError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\ninterrupted: run it again to go on; what was downloaded is kept", file=sys.stderr)
        return 130
    print(
        f"Installed in {_clock(time.monotonic() - started)}. Next: {python.relative_to(ROOT)} -m tools demo"
    )
    return 0


def check_python() -> None:
    """Raise InstallError unless this interpreter can run the project."""
    if not OLDEST <= sys.version_info[:2] <= NEWEST:
        raise InstallError(
            f"Python 3.10 to 3.13 is required, {sys.executable} is {sys.version.split()[0]}: "
            "run this with another one, such as python3.11 install.py (or make PYTHON=python3.11 demo)"
        )


def create_environment() -> Path:
    """Create .venv unless it is there and works; return the path of its interpreter."""
    python = VENV / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    if python.exists() and _output([str(python), "-m", "pip", "--version"]):
        return python
    print(f"Creating .venv with Python {sys.version.split()[0]} ...", flush=True)
    created = subprocess.run(
        [sys.executable, "-m", "venv", "--clear", str(VENV)], stdout=subprocess.PIPE, text=True
    )
    if created.returncode:
        shutil.rmtree(VENV, ignore_errors=True)
        raise InstallError(f"{sys.executable} cannot create .venv: {' '.join(created.stdout.split())}")
    return python


def install(python: Path, requirements: str, requested: str | None = None) -> None:
    """Install a requirements file, then the embedded models and, for tests, Agent Framework.

    If uv fails (no access to PyTorch's own index, say), pip has a try. Raises InstallError if nothing worked.
    """
    total = len(_pinned(ROOT / "requirements.lock"))
    # Earlier runs may have had other options.
    LOG.write_text("", encoding="utf-8")
    for name in choose_installers(python, requested):
        print(_announce(name), flush=True)
        try:
            command = _command(name, python)
            _run([*command, "-r", requirements], total, python)
            # Without what these packages claim to need: see the comments in the files.
            _run([*command, "--no-deps", "-r", "requirements-embedded.txt"], total, python)
            if requirements == DEV:
                _run([*command, "--no-deps", "-r", "requirements-agents-dev.txt"], total, python)
            break
        except InstallError as error:
            print(f"{name} failed:\n{error}", file=sys.stderr, flush=True)
    else:
        raise InstallError(f"the installation failed; the whole output is in {LOG.relative_to(ROOT)}")
    compile_what_is_used(python)


def compile_what_is_used(python: Path) -> None:
    """Import what the project imports, so that its bytecode is written now, not when a user waits.

    Compiling every file would take four times as long and as much space. Raises InstallError if something
    was installed but cannot be imported, for want of a system library, say.
    """
    print("Compiling what is used ...", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        environment = {**os.environ, "PF_HOME_DIRECTORY": folder, "HF_HUB_OFFLINE": "1"}
        environment.pop("PYTHONDONTWRITEBYTECODE", None)
        started = [
            subprocess.Popen(
                [str(python), "-c", _IMPORT, *names],
                cwd=ROOT,
                env=environment,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                text=True,
            )
            for names in _USED
        ]
        for process in started:
            _, errors = process.communicate()
            if process.returncode:
                raise InstallError(f"installed, but not usable: {errors.strip().splitlines()[-1]}")


def choose_installers(python: Path, requested: str | None) -> list[str]:
    """Return the installers to try in turn.

    uv is several times faster, and takes the CPU build of torch on a machine without an NVIDIA GPU.
    """
    if requested:
        return [requested]
    configured = _SOURCES.search(_output([str(python), "-m", "pip", "config", "list"]))
    return ["pip"] if configured else ["uv", "pip"]


def _announce(name: str) -> str:
    size = "about 0.7 GB to download, 2.1 GB on disk"
    cuda = "3.2 GB and 7 GB"
    if name == "uv":
        more = f" ({cuda} with an NVIDIA GPU)" if sys.platform == "linux" else ""
    else:
        more = f" ({cuda} if its sources have torch for CUDA only)" if sys.platform == "linux" else ""
    return f"Installing into .venv with {name}: {size}{more} ..."


def _command(name: str, python: Path) -> list[str]:
    """Return the beginning of an installer's command line; install uv first if it is not there."""
    if name == "pip":
        # Modules are compiled when they are first imported: most never are.
        options = ["--no-compile", "--progress-bar", "off", "--disable-pip-version-check", "--no-input"]
        return [str(python), "-m", "pip", "install", *options]
    uv = shutil.which("uv") or shutil.which("uv", path=str(python.parent))
    if uv is None:
        _run([*_command("pip", python), UV], 0, python)
        uv = str(python.parent / "uv")
    return [uv, "pip", "install", "--python", str(python)]


def _run(command: list[str], total: int, python: Path) -> None:
    """Run an installer and show its progress. Raises InstallError with the end of its output if it fails."""
    environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
    if not any(name in os.environ for name in _UV_SOURCES):
        environment.setdefault("UV_TORCH_BACKEND", "auto")
    process = subprocess.Popen(
        command,
        cwd=ROOT,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        encoding="utf-8",
        errors="replace",
    )
    output: list[str] = []
    reader = threading.Thread(target=_read, args=(process, output), daemon=True)
    reader.start()
    try:
        _watch(reader, output, total, python)
    except BaseException:
        process.terminate()
        raise
    finally:
        process.wait()
        reader.join()
    if process.returncode:
        raise InstallError("\n".join(f"  {line}" for line in output[-8:]))


def _read(process: subprocess.Popen[str], output: list[str]) -> None:
    assert process.stdout is not None
    with process.stdout, LOG.open("a", encoding="utf-8") as log:
        for line in process.stdout:
            log.write(line)
            if line.strip():
                output.append(line.rstrip())


def _watch(reader: threading.Thread, output: list[str], total: int, python: Path) -> None:
    """Show what the installer does until it ends: one line that changes, or in a file a line now and then."""
    terminal = sys.stdout.isatty()
    started = shown = time.monotonic()
    while True:
        reader.join(0.5 if terminal else 1.0)
        now = time.monotonic()
        if not reader.is_alive():
            break
        if terminal or now - shown >= _LOG_EVERY:
            shown = now
            line = f"  {_clock(now - started)}  {describe(output, _installed(python), total)}"
            width = shutil.get_terminal_size().columns - 1
            print(
                "\r" + line[:width].ljust(width) if terminal else line,
                end="" if terminal else "\n",
                flush=True,
            )
    if terminal:
        print("\r" + " " * (shutil.get_terminal_size().columns - 1), end="\r", flush=True)


def describe(output: list[str], installed: int, total: int) -> str:
    """Describe in one line how far an installer is, from its output so far and the packages in place."""
    collected = sum(line.startswith(("Collecting ", "Processing ")) for line in output)
    activity = ""
    for line in reversed(output):
        match = _ACTIVITY.match(line)
        if match:
            verb, name, rest = match.groups()
            size = re.search(r"\([\d.]+ ?[kMGT]i?B\)", rest)
            file = re.split(r"[/\\]", name)[-1]
            activity = f"{verb.lower()} {file} {size.group() if size else ''}".rstrip()
            break
    if activity.startswith("installing"):
        activity = "unpacking"
    elif collected:
        activity = f"{collected} collected, {activity}"
    count = f"{installed} of about {total} packages installed" if total else ""
    return "; ".join(part for part in (count, activity) if part)


def _installed(python: Path) -> int:
    """Count the packages in an environment."""
    return sum(1 for _ in _site_packages(python).glob("*.dist-info"))


def _site_packages(python: Path) -> Path:
    folder = python.parents[1]
    return next(folder.glob("lib/python3*/site-packages"), folder / "Lib" / "site-packages")


def _pinned(lock: Path) -> set[str]:
    """Return the names in a lock file; some are for other systems or versions of Python."""
    return set(re.findall(r"^([\w.-]+)==", lock.read_text(encoding="utf-8"), flags=re.MULTILINE))


def _output(command: list[str]) -> str:
    """Return what a command prints, nothing if it fails."""
    result = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    return result.stdout if result.returncode == 0 else ""


def _clock(seconds: float) -> str:
    return f"{int(seconds) // 60}:{int(seconds) % 60:02d}"


if __name__ == "__main__":
    sys.exit(main())
