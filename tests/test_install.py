"""install.py and the requirement files: what is installed, with what, and what the user sees meanwhile."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import install

ROOT = Path(__file__).resolve().parents[1]


def requirements(name: str) -> list[Requirement]:
    lines = (
        line.partition("#")[0].strip() for line in (ROOT / name).read_text(encoding="utf-8").splitlines()
    )
    return [Requirement(line) for line in lines if line and not line.startswith("-")]


# --- requirement files -------------------------------------------------------------------------------


def test_the_lock_holds_every_pinned_requirement() -> None:
    for python in ("3.10", "3.11", "3.13"):
        here = {"python_version": python, "python_full_version": f"{python}.5"}

        def versions(name: str, here: dict[str, str] = here) -> dict[str, str]:
            return {
                canonicalize_name(r.name): str(r.specifier)
                for r in requirements(name)
                if r.marker is None or r.marker.evaluate(here)
            }

        locked = versions("requirements.lock")
        for file in ("requirements.txt", "requirements-serve.txt"):
            asked = versions(file)
            assert asked == {name: locked.get(name) for name in asked}, f"{file}: run `make lock`"


def test_smaller_sets_of_requirements_take_their_versions_from_the_lock() -> None:
    locked = {canonicalize_name(r.name) for r in requirements("requirements.lock")}
    for name in ("requirements-core.txt", "deploy/requirements.txt"):
        assert re.search(
            r"^-c (\.\./)?requirements\.lock$", (ROOT / name).read_text(encoding="utf-8"), re.MULTILINE
        )
        for requirement in requirements(name):
            if not str(requirement.specifier).startswith("=="):
                assert canonicalize_name(requirement.name) in locked


def test_the_lock_fits_the_cpu_build_of_torch_and_compiles_nothing() -> None:
    names = {r.name for r in requirements("requirements.lock")}
    assert "torch" in names
    assert [name for name in names if name.startswith(("nvidia", "cuda", "triton", "llama-cpp"))] == []
    core = {canonicalize_name(r.name) for r in requirements("requirements-core.txt")}
    assert not core & {"torch", "transformers", "sentence-transformers", "promptflow", "faiss-cpu", "pyarrow"}


# --- choosing an installer ---------------------------------------------------------------------------


@pytest.fixture
def unconfigured(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    for name in list(os.environ):
        if name.startswith(("PIP_", "UV_")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    return monkeypatch


def test_uv_is_preferred_unless_pip_has_sources_that_uv_does_not_know(unconfigured) -> None:
    python = Path(sys.executable)
    unconfigured.setenv("PIP_TIMEOUT", "60")
    assert install.choose_installers(python, None) == ["uv", "pip"]
    unconfigured.setenv("PIP_INDEX_URL", "https://packages.example/simple")
    assert install.choose_installers(python, None) == ["pip"]
    assert install.choose_installers(python, "uv") == ["uv"]


def test_another_python_is_refused_in_one_line(monkeypatch) -> None:
    monkeypatch.setattr(sys, "version_info", (3, 9, 18, "final", 0))
    with pytest.raises(install.InstallError, match=r"^Python 3\.10 to 3\.13 is required.*another one"):
        install.check_python()


# --- progress ----------------------------------------------------------------------------------------


def test_progress_names_what_is_being_done_and_how_much_is_left() -> None:
    output = ["Collecting numpy==2.4.6 (from -r requirements.lock (line 97))"]
    assert install.describe(output, 3, 200) == (
        "3 of about 200 packages installed; 1 collected, collecting numpy==2.4.6"
    )
    output += ["Collecting torch==2.13.0", "  Downloading torch-2.13.0-cp311-cp311-linux.whl (526.6 MB)"]
    assert install.describe(output, 3, 200).endswith(
        "; 2 collected, downloading torch-2.13.0-cp311-cp311-linux.whl (526.6 MB)"
    )
    output += ["  Preparing metadata (setup.py): started", "Installing collected packages: numpy, torch"]
    assert install.describe(output, 57, 200) == "57 of about 200 packages installed; unpacking"
    assert install.describe(["Downloading torch (182.9MiB)"], 0, 200).endswith(
        "; downloading torch (182.9MiB)"
    )
    assert install.describe([], 0, 200) == "0 of about 200 packages installed"
    assert install.describe(["Collecting uv==0.13.9"], 2, 0) == "1 collected, collecting uv==0.13.9"


# --- the whole of it ---------------------------------------------------------------------------------


def make_wheel(folder: Path, name: str, requires: str = "") -> None:
    info = f"{name}-1.0.dist-info"
    metadata = f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n" + (
        f"Requires-Dist: {requires}\n" if requires else ""
    )
    with zipfile.ZipFile(folder / f"{name}-1.0-py3-none-any.whl", "w") as wheel:
        wheel.writestr(f"{name}.py", "value = 1\n")
        wheel.writestr(f"{info}/METADATA", metadata)
        wheel.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr(f"{info}/RECORD", "")


@pytest.fixture
def project(tmp_path: Path, unconfigured) -> Path:
    """A project of two small wheels, with an environment that has pip without the seconds it takes to install it."""
    shutil.copy(ROOT / "install.py", tmp_path)
    wheels = tmp_path / "wheels"
    wheels.mkdir()
    make_wheel(wheels, "needed")
    make_wheel(wheels, "weights", requires="not-to-be-had")
    (tmp_path / "requirements.lock").write_text("needed==1.0\nelsewhere==2.0 ; python_version < '3'\n")
    (tmp_path / "requirements-embedded.txt").write_text("weights==1.0\n")
    venv.create(tmp_path / ".venv", system_site_packages=True, with_pip=False)
    unconfigured.setenv("PIP_NO_INDEX", "1")
    unconfigured.setenv("PIP_FIND_LINKS", str(wheels))
    return tmp_path


def run_install(project: Path, *options: str) -> subprocess.CompletedProcess[str]:
    command = [getattr(sys, "_base_executable", sys.executable), "install.py", *options]
    return subprocess.run(command, cwd=project, capture_output=True, text=True, timeout=300)


def test_installs_the_lock_and_the_weights_without_their_dependencies(project: Path) -> None:
    for _ in range(2):  # again, as after an interruption
        result = run_install(project)
        assert (result.returncode, result.stderr) == (0, "")
        lines = result.stdout.splitlines()
        assert lines[0].startswith("Installing into .venv with pip: about 0.7 GB to download")
        assert re.match(r"Installed in \d+:\d\d\. Next: .*python.* -m tools demo$", lines[-1])
    python = next((project / ".venv").glob("*/python"))
    check = "import needed, weights; print(needed.value + weights.value)"
    assert subprocess.run([python, "-c", check], capture_output=True, text=True).stdout == "2\n"


def test_a_failed_installation_shows_why_and_where_the_output_is(project: Path) -> None:
    (project / "requirements.lock").write_text("needed==1.0\nmissing-package==3.0\n")
    result = run_install(project)
    assert result.returncode == 1
    assert "No matching distribution found for missing-package==3.0" in result.stderr
    assert (
        result.stderr.splitlines()[-1]
        == "error: the installation failed; the whole output is in .venv/install.log"
    )
    assert "missing-package" in (project / ".venv" / "install.log").read_text(encoding="utf-8")
    assert "Traceback" not in result.stderr


@pytest.mark.slow
def test_creates_the_environment_and_mends_a_broken_one(project: Path) -> None:
    for broken in (None, "#!/bin/sh\nexit 1\n"):
        if broken is None:
            shutil.rmtree(project / ".venv")
        else:
            python = project / ".venv" / "bin" / "python"
            python.unlink()
            python.write_text(broken)
            python.chmod(0o755)
        result = run_install(project, "--with", "pip")
        assert (result.returncode, result.stderr) == (0, "")
        assert result.stdout.startswith("Creating .venv with Python 3.")
