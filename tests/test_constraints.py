"""constraints.txt, with every extra, resolves on each Python as the registry offers packages to anyone."""

import os
import re
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow
ROOT = Path(__file__).resolve().parents[1]
PYTHONS = ("3.11", "3.12", "3.13", "3.14") if os.environ.get("SOAK") else ("3.11", "3.14")
SOURCE_ONLY = {"docopt": "0.6.2"}  # of num2words: published without a wheel; pure Python, it builds on all of them


def environment():
    """Without packages that lie at hand here, a CPU build of torch above all: they hide what others are offered."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PIP_", "UV_"))}
    index = os.environ.get("PIP_INDEX_URL")  # how to reach a registry, not what to take
    return kept | ({"UV_DEFAULT_INDEX": index} if index else {})


def resolve(python, requirements, folder):
    """Versions by name of what is chosen for that Python on Linux, or the message where nothing goes together.

    Only metadata is read, and markers are those of the Python asked for: ``pip install --dry-run --report`` downloads
    what it chose, gigabytes of it, and evaluates markers for the Python that runs it.
    """
    (folder / "requirements.txt").write_text("\n".join(requirements))
    links = folder / "links"
    links.mkdir()
    for name, version in SOURCE_ONLY.items():
        stand_in(links, name, version)
    words = ["compile", "--no-config", "--no-build", "--no-header", "--no-annotate", "--quiet", "--find-links", links]
    place = ["--python-version", python, "--python-platform", "x86_64-manylinux_2_28"]
    command = [sys.executable, "-m", "uv", "pip", *words, *place, folder / "requirements.txt"]
    done = subprocess.run(command, env=environment(), capture_output=True, text=True, check=False)
    if re.search("error sending request|dns error|Could not connect|timed out", done.stderr):
        pytest.skip("no package registry can be reached: " + done.stderr.strip().splitlines()[-1])
    return dict(line.split("==") for line in done.stdout.split()) if done.returncode == 0 else done.stderr


def stand_in(folder, name, version):
    info = f"{name}-{version}.dist-info"
    with zipfile.ZipFile(folder / f"{name}-{version}-py3-none-any.whl", "w") as wheel:
        wheel.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
        wheel.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr(f"{info}/RECORD", "")


def wanted():
    """What the package needs, with every extra, to build and to run."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    extras = project["project"]["optional-dependencies"].values()
    named = [*project["project"]["dependencies"], *(line for extra in extras for line in extra)]
    return [*project["build-system"]["requires"], *(line for line in named if not line.startswith("dataprophet["))]


def pins():
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    return dict(line.split("==") for line in lines if not line.startswith("#"))


@pytest.mark.parametrize("python", PYTHONS)
def test_constraints_resolve(python, tmp_path):
    versions = resolve(python, [*wanted(), f"-c {ROOT / 'constraints.txt'}"], tmp_path)
    assert isinstance(versions, dict), versions
    for name in ("numpy", "scipy", "torch", "triton"):
        assert versions[name] == pins()[name]  # "+cpu" would be another torch than the registry's
    triton, numpy = (tuple(map(int, versions[name].split(".")[:2])) for name in ("triton", "numpy"))
    assert triton >= (3, 9) or numpy < (2, 4), "Triton's interpreter does not run with that NumPy"


def test_what_does_not_go_together_is_found(tmp_path):
    """The pair that once was pinned: the test above can fail."""
    assert "unsatisfiable" in resolve("3.13", ["torch==2.13.0", "triton==3.9.0"], tmp_path)
