"""What the wheel and the editable install hold: the core, ``dataprophet.kernels``, and no top-level ``kernels``."""

import importlib.util
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]

# In the folder that the installation was built in (build/ and the tag of the wheel), so that little is compiled again.
BUILD = "import sys; from scikit_build_core import build; print(getattr(build, sys.argv[1])(sys.argv[2]))"

# -S leaves out the .pth files of this environment, and with them any other install of dataprophet.
LOOK = """
import importlib.util, site, sys
site.addsitedir(sys.argv[1])
sys.path.append(sys.argv[2])
import numpy, dataprophet
from dataprophet import _core, ops
assert _core.__file__.startswith(sys.argv[1]), _core.__file__
assert _core.__version__ == ops.core_info()["version"] == dataprophet.__version__
assert ops.mean_direction(numpy.ones((3, 4), "float32")).tolist() == [0.5] * 4
assert importlib.util.find_spec("dataprophet.kernels.token_logprobs") is not None
spec = importlib.util.find_spec("kernels")
assert spec is None or not any(place.startswith(sys.argv[3]) for place in spec.submodule_search_locations), spec
assert sys.argv[3] not in sys.path
print("fine")
"""


@pytest.fixture(scope="module")
def build(tmp_path_factory):
    if importlib.util.find_spec("scikit_build_core") is None or importlib.util.find_spec("pybind11") is None:
        pytest.skip("scikit-build-core and pybind11 are not installed")
    folder = tmp_path_factory.mktemp("packaging")

    def make(hook):
        out = folder / hook
        out.mkdir()
        done = subprocess.run(
            [sys.executable, "-c", BUILD, hook, str(out)],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return next(out.glob("*.whl"))

    return make


@pytest.mark.parametrize("hook", ["build_wheel", "build_editable"])
def test_install_imports_and_leaks_no_kernels(build, hook, tmp_path):
    wheel = build(hook)
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        archive.extractall(tmp_path)
    assert not [name for name in names if name.startswith(("kernels", "csrc", "tests", "benchmarks"))]
    compiled = {name.partition(".")[0] for name in names if name.endswith((".so", ".pyd"))}
    assert {"dataprophet/_core"} <= compiled <= {"dataprophet/_core", "dataprophet/_cuda"}
    assert not [name for name in names if "__pycache__" in name]
    if hook == "build_wheel":
        wanted = {"ops/backend.py", "py.typed", "__init__.pyi", "_core.pyi", "_cuda.pyi", "kernels/token_logprobs.py"}
        wanted |= {"report/templates/page.html.jinja", "report/templates/page.css", "report/templates/page.js"}
        assert {f"dataprophet/{name}" for name in wanted} <= set(names)
        tops = {name.partition("/")[0] for name in names}
        assert {top for top in tops if not top.endswith(".dist-info")} == {"dataprophet"}
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", LOOK, str(tmp_path), sysconfig.get_path("purelib"), str(ROOT)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout.strip() == "fine", done.stderr


def test_tests_do_not_see_the_checkout():
    assert not [entry for entry in sys.path if Path(entry or ".").resolve() == ROOT]


def test_missing_core_says_compile(tmp_path):
    package = tmp_path / "dataprophet"
    package.symlink_to(ROOT / "dataprophet")
    code = "import numpy, sys; from dataprophet import ops; ops.mean_direction(numpy.ones((1, 1), 'float32'))"
    done = subprocess.run(
        [
            sys.executable,
            "-I",
            "-S",
            "-c",
            f"import sys; sys.path[:0] = {[str(tmp_path), sysconfig.get_path('purelib')]}; {code}",
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode != 0
    assert "did you forget to compile? Run: pip install" in done.stderr.splitlines()[-1]
