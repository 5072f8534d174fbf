"""tools/release.py: what it calls a release. Building and trying wheels is `make release`: minutes of compiling."""

import subprocess

import pytest
from release import Refused, checked_version, find_python

CHANGELOG = "# Changelog\n\n## [1.2.0] - 2026-01-01\n\n- More.\n"


@pytest.fixture
def git(tmp_path):
    def run(*words):
        name = ["-c", "user.name=a", "-c", "user.email=a@example.org"]
        subprocess.run(["git", "-C", tmp_path, *name, *words], check=True, capture_output=True)

    (tmp_path / "pyproject.toml").write_text('[project]\nversion = "1.2.0"\n')
    (tmp_path / "CHANGELOG.md").write_text(CHANGELOG)
    run("init", "-q")
    run("add", ".")
    run("commit", "-q", "-m", "All")
    return run


def test_a_checkout_without_git_or_without_a_tag_is_a_trial(tmp_path, git, capsys):
    assert checked_version(tmp_path) == "1.2.0"
    git("tag", "demo")
    assert checked_version(tmp_path) == "1.2.0"
    (tmp_path / ".git").rename(tmp_path / "away")
    assert checked_version(tmp_path) == "1.2.0"
    assert capsys.readouterr().out.count("No tag: a trial of 1.2.0") == 3


def test_a_tag_and_the_version_agree(tmp_path, git, capsys):
    git("tag", "v1.2.0")
    assert checked_version(tmp_path) == "1.2.0"
    assert capsys.readouterr().out == ""
    git("tag", "v1.2.1")
    with pytest.raises(Refused, match=r"tag v1\.2\.0"):
        checked_version(tmp_path)


def test_a_tagged_checkout_is_told_of_and_as_committed(tmp_path, git):
    git("tag", "v1.2.0")
    (tmp_path / "more.py").touch()
    with pytest.raises(Refused, match=r"more\.py"):
        checked_version(tmp_path)
    (tmp_path / "CHANGELOG.md").write_text(CHANGELOG.replace("1.2.0", "1.1.0"))
    with pytest.raises(Refused, match="CHANGELOG"):
        checked_version(tmp_path)


def test_a_python_that_does_not_run_or_has_no_headers_is_passed_over(tmp_path, monkeypatch):
    for name, text in {
        "bin/python3.13": "exit 127",
        "versions/3.13.0/bin/python": "echo /opt/python; echo 3.13; echo True",
        "versions/3.12.0/bin/python": "echo /opt/python; echo 3.12; echo False",
    }.items():
        python = tmp_path / name
        python.parent.mkdir(parents=True)
        python.write_text(f"#!/bin/sh\n{text}\n")
        python.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}/bin")
    monkeypatch.setenv("PYENV_ROOT", str(tmp_path))
    assert str(find_python("3.13")) == "/opt/python"
    assert find_python("3.12") is None
