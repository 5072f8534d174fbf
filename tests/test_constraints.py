"""constraints.txt, with every extra, resolves on each Python as the registry offers packages to anyone."""

import json
import os
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path
from urllib.parse import unquote

import pytest

ROOT = Path(__file__).resolve().parents[1]
PYTHONS = ("3.11", "3.12", "3.13", "3.14")
SOURCE_ONLY = {"docopt": "0.6.2"}  # of num2words: published without a wheel; pure Python, it builds on all of them
KEPT = ("PIP_CERT", "PIP_DEFAULT_TIMEOUT", "PIP_INDEX_URL", "PIP_PROXY")  # how to reach a registry, not what to take


def environment():
    """Without packages that lie at hand here, a CPU build of torch above all: they hide what others are offered."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PIP_") or name in KEPT}
    return kept | {"PIP_CONFIG_FILE": os.devnull, "PIP_DISABLE_PIP_VERSION_CHECK": "1"}


def run(*arguments):
    command = [sys.executable, *map(str, arguments)]
    return subprocess.run(command, env=environment(), capture_output=True, text=True, check=False)


def resolve(python, requirements, folder):
    """URLs by name of what pip chooses, or its message where nothing goes together."""
    (folder / "requirements.txt").write_text("\n".join(requirements))
    links = folder / "links"
    links.mkdir()
    for name, version in SOURCE_ONLY.items():
        stand_in(links, name, version)
    report = folder / "report.json"
    options = ["--dry-run", "--ignore-installed", "--quiet", "--use-feature=fast-deps", "--only-binary", ":all:"]
    places = ["--target", folder / "none", "--find-links", links, "-r", folder / "requirements.txt"]
    done = run(Path(__file__).with_name("resolve.py"), python, report, "install", *options, *places)
    return json.loads(report.read_text()) if done.returncode == 0 else done.stderr


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


@pytest.fixture(scope="module")
def registry():
    reached = run("-m", "pip", "download", "xxhash", "--no-deps", "--dest", os.devnull + "/none", "--retries", "0")
    if "No matching distribution" in reached.stderr:
        pytest.skip("no package registry can be reached: " + reached.stderr.strip().splitlines()[-1])


@pytest.mark.parametrize("python", PYTHONS)
@pytest.mark.usefixtures("registry")
def test_constraints_resolve(python, tmp_path):
    found = resolve(python, [*wanted(), f"-c {ROOT / 'constraints.txt'}"], tmp_path)
    assert isinstance(found, dict), found
    wheels = {name.replace("_", "-"): unquote(url).rsplit("/", 1)[-1].split("-") for name, url in found.items()}
    versions = {name: version for name, (_, version, *_) in wheels.items()}
    for name in ("numpy", "scipy", "torch", "triton"):
        assert versions[name] == pins()[name]  # "+cpu" would be another torch than the registry's
    assert wheels["torch"][2] == wheels["numpy"][2] == f"cp{python.replace('.', '')}"
    triton, numpy = (tuple(map(int, versions[name].split(".")[:2])) for name in ("triton", "numpy"))
    assert triton >= (3, 9) or numpy < (2, 4), "Triton's interpreter does not run with that NumPy"


@pytest.mark.usefixtures("registry")
def test_what_does_not_go_together_is_found(tmp_path):
    """The pair that once was pinned: the test above can fail."""
    if not sys.platform.startswith("linux"):
        pytest.skip("torch names a version of Triton on Linux only")
    found = resolve("3.13", ["torch==2.13.0", "triton==3.9.0"], tmp_path)
    assert "ResolutionImpossible" in found
