"""What a message says to install: what pyproject.toml declares, by names that any index has."""

import re
import shlex
import sys
import tomllib
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from dataprophet.errors import install, pip_install

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
EXTRAS = PROJECT["optional-dependencies"]
ADVISED = re.compile(r"\binstall\(((?:[\"']\w+[\"'](?:, )?)*)\)")


@pytest.fixture(autouse=True)
def forgotten():
    install.cache_clear()
    yield
    install.cache_clear()


def parsed(lines):
    return {(each.name, each.specifier) for each in map(Requirement, lines)}


@pytest.mark.parametrize("extra", ["", "model", "data", "report", "peft", "remote", "triton", "ray"])
def test_packages_of_an_extra(extra):
    head, *packages = shlex.split(install(extra) if extra else install())[1:]
    declared = EXTRAS[extra] if extra else PROJECT["dependencies"]
    assert head == "install"
    assert parsed(packages) == parsed(declared)


def test_packages_of_several_extras_come_once():
    packages = shlex.split(install("data", "report"))[2:]
    assert len(packages) == len(set(packages))
    assert parsed(packages) == parsed(EXTRAS["data"] + EXTRAS["report"])


def test_every_message_asks_for_an_extra_that_is_declared():
    asked = set()
    for path in (ROOT / "dataprophet").rglob("*.py"):
        for words in ADVISED.findall(path.read_text(encoding="utf-8")):
            asked |= set(re.findall(r"\w+", words))
    assert asked == {"model", "data", "report", "peft", "remote", "triton", "ray"}
    assert asked <= set(EXTRAS)


def test_nothing_is_said_to_come_from_an_index():
    """No index has this package: neither it nor its extras can be installed by name."""
    texts = [*(ROOT / "dataprophet").rglob("*.py"), *(ROOT / "docs").rglob("*.md"), ROOT / "README.md"]
    advice = re.compile(r"pip install[^\n]* ['\"]?dataprophet\b(?!/)[^\n]*")
    assert not [(path, found[0]) for path in texts if (found := advice.search(path.read_text(encoding="utf-8")))]


@pytest.mark.parametrize(
    ("mark", "command"),
    [
        ("pyvenv.cfg", "pip install 'ray>=2.40'"),
        ("pipx_metadata.json", "pipx runpip tool install 'ray>=2.40'"),
        ("uv-receipt.toml", "uv pip install --python {prefix} 'ray>=2.40'"),
    ],
)
def test_command_of_the_tool_that_made_the_environment(mark, command, tmp_path, monkeypatch):
    prefix = tmp_path / "tool"
    prefix.mkdir()
    (prefix / mark).touch()
    monkeypatch.setattr(sys, "prefix", str(prefix))
    assert pip_install(["ray>=2.40"]) == command.format(prefix=prefix)


def test_requirements_with_markers_of_other_kinds(monkeypatch):
    lines = [
        'a>=1; platform_system == "Linux"',
        "b; extra == 'x'",
        'c<2,>=1; python_version < "4" and extra == "x"',
        "d",
    ]
    monkeypatch.setattr(metadata, "requires", lambda name: lines)
    assert install() == "pip install 'a>=1' d"
    assert install("x") == "pip install b 'c<2,>=1'"
