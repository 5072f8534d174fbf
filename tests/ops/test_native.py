"""The compiled operations on the processor of most ARM machines (NEON), under an emulator where there is one."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow
ROOT = Path(__file__).resolve().parents[2]
PATH = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])  # first the CMake that made the package
SETTINGS = {
    "CMAKE_BUILD_TYPE": "Release",
    "CMAKE_SYSTEM_NAME": "Linux",
    "CMAKE_SYSTEM_PROCESSOR": "aarch64",
    "CMAKE_CXX_COMPILER": "aarch64-linux-gnu-g++",
    "CMAKE_EXE_LINKER_FLAGS": "-static",
    "DATAPROPHET_CHECK": "ON",
}


def test_neon():
    for program in ("aarch64-linux-gnu-g++", "qemu-aarch64", "cmake", "ninja"):
        if shutil.which(program, path=PATH) is None:
            pytest.skip(f"{program} is missing: install g++-aarch64-linux-gnu, qemu-user, cmake and ninja")
    build = ROOT / "build" / "neon"  # kept: later runs compile what changed
    run("cmake", "-S", ROOT, "-B", build, "-G", "Ninja", *(f"-D{key}={value}" for key, value in SETTINGS.items()))
    run("cmake", "--build", build)
    lines = run("qemu-aarch64", build / "tests" / "native" / "check", "150").splitlines()  # few rows: it is slow
    assert lines[-1] == "0 failures"
    assert {line.split()[0] for line in lines[:-1]} == {"neon", "-"}


def run(*command):
    done = subprocess.run(command, capture_output=True, text=True, check=False, env={**os.environ, "PATH": PATH})
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    return done.stdout
