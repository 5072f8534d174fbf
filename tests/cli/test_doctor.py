"""Doctor: what it says on this machine, on a base install, and next to packages that are broken or do not match."""

import importlib
import json
import re
import subprocess
import sys
from importlib import metadata

import pytest

from dataprophet import _core
from dataprophet.cli import doctor


def named(name):
    return {check.name: check for check in doctor.report()}[name]


@pytest.fixture
def versions(monkeypatch):
    """Pretend that packages have these versions, None for not installed."""
    real = metadata.version

    def pretend(**given):
        def version(name):
            if name in given and given[name] is None:
                raise metadata.PackageNotFoundError(name)
            return given.get(name) or real(name)

        monkeypatch.setattr(metadata, "version", version)

    return pretend


def test_report_of_this_machine():
    checks = {check.name: check for check in doctor.report()}
    for name in ("python", "core", "instruction set", "numpy", "scipy", "pyarrow", "safetensors"):
        assert checks[name].ok
        assert checks[name].required
    assert _core.__version__ in checks["core"].found
    assert _core.isa() in checks["instruction set"].found
    for check in checks.values():
        assert check.ok or check.fix or check.found.startswith("unknown")
    text = doctor.format_report([*checks.values()])
    assert all(check.found in text and check.fix in text for check in checks.values())


def test_versions_outside_the_range(versions):
    pytest.importorskip("transformers")
    for version, ok in {"5.22.9": False, "5.23.0": True, "5.30.1": True, "6.0.0": False, "6.0.0.dev0": False}.items():
        versions(transformers=version)
        check = named("transformers")
        assert check.ok is ok, version
        assert ok or ("5.23 or later, below 6" in check.found and "'transformers<6,>=5.23'" in check.fix)


def test_torchvision_that_does_not_match(versions, monkeypatch):
    pytest.importorskip("torch")
    versions(torchvision="0.26.0", torch="2.13.0+cpu")
    real = metadata.requires
    monkeypatch.setattr(
        metadata, "requires", lambda name: ["numpy", "torch==2.12.1"] if name == "torchvision" else real(name)
    )
    check = named("torchvision")
    assert not check.ok
    assert "made for torch 2.12.1, but torch is 2.13.0+cpu" in check.found
    assert "pip uninstall torchvision" in check.fix


def test_torchvision_that_breaks_on_import(versions, monkeypatch, tmp_path):
    pytest.importorskip("torch")
    package = tmp_path / "torchvision"
    package.mkdir()
    (package / "__init__.py").write_text("raise RuntimeError('operator torchvision::nms does not exist')\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "torchvision", raising=False)
    importlib.invalidate_caches()
    versions(torchvision="0.26.0")
    real = metadata.requires
    monkeypatch.setattr(metadata, "requires", lambda name: [] if name == "torchvision" else real(name))
    check = named("torchvision")
    assert not check.ok
    assert "torchvision::nms does not exist" in check.found


def test_where_operations_run(monkeypatch):
    torch = pytest.importorskip("torch")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(doctor, "own_device", lambda: None)
    assert not (check := named("operations")).ok
    assert "copied to the CPU" in check.fix
    monkeypatch.setattr(doctor, "own_device", lambda: torch.device("cuda", 1))
    assert "the CUDA core on cuda:1" in named("operations").found
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(doctor, "own_device", lambda: None)
    assert named("operations").found == "all on the CPU, by the core"


def test_not_installed(versions):
    versions(torch=None, transformers=None, datasets=None, altair=None, pillow=None, triton=None, torchvision=None)
    checks = {check.name: check for check in doctor.report()}
    for name in ("torch", "transformers", "pillow", "datasets", "altair", "triton"):
        assert not checks[name].ok
        assert checks[name].found == "not installed"
        assert re.search(rf"pip install .*'{name}[<>=]", checks[name].fix)
    assert checks["torchvision"].ok


def test_base_install_imports_no_optional_package():
    """With every optional package hidden, the operations and the report still work."""
    code = """
import json, sys
class Hide:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {"torch", "transformers", "PIL", "datasets", "altair", "triton", "sklearn"}:
            raise ImportError(name + " is hidden")
sys.meta_path.insert(0, Hide())
import numpy
from dataprophet import ops
from dataprophet.cli import doctor
assert ops.expected_cosine(numpy.eye(3), numpy.ones((2, 3))) > 0
print(json.dumps({check.name: check.ok for check in doctor.report()}))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["core"]
    assert not found["torch"]
    assert not found["altair"]


def test_a_wrong_setting_is_not_taken_for_a_missing_core(monkeypatch):
    monkeypatch.setenv("DATAPROPHET_THREADS", "many")
    core = named("core")
    assert not core.ok
    assert core.found.startswith("DATAPROPHET_THREADS: ")
    assert core.fix == "correct or unset it"
