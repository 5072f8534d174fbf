"""The CUDA kernels by nvcc, where there is one: for every architecture, without spills where registers are many."""

import os
import re
import shutil
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import sass

pytestmark = pytest.mark.slow
ROOT = Path(__file__).resolve().parents[2]
ARCHITECTURES = ["80", "90", "100"]
TENSOR_KERNELS = {"distance_sums.cu": ["norm_tiles", "distance_tiles"], "nearest.cu": ["match_tiles"]}
ROW_KERNELS = {"measure_rows.cu": ["row_lengths", "sum_wholes"], "average_directions.cu": ["average_directions_kernel"]}
DOUBLE = ("DADD", "DMUL", "DFMA", "F2F")  # of rows that fp32 cannot normalise
NVCC = os.environ.get("CUDACXX") or shutil.which("nvcc")


def architectures():
    if NVCC is None:
        pytest.skip("there is no nvcc")
    listed = subprocess.run([NVCC, "--list-gpu-code"], capture_output=True, text=True, check=True).stdout
    known = [name for name in ARCHITECTURES if f"sm_{name}" in listed.split()]
    assert known, listed
    return known


@pytest.mark.parametrize("source", [*TENSOR_KERNELS, *ROW_KERNELS])
def test_kernels_do_not_spill(source, tmp_path):
    targets = architectures() if source in TENSOR_KERNELS else architectures()[-1:]
    codes = [f"-gencode=arch=compute_{name},code=sm_{name}" for name in targets]
    codes.append(f"-gencode=arch=compute_{targets[-1]},code=compute_{targets[-1]}")
    command = [NVCC, "-std=c++17", "-O3", "-Xptxas", "-v", *codes, f"-I{ROOT / 'csrc'}", "-c"]
    command += [str(ROOT / "csrc" / "cuda" / source), "-o", str(tmp_path / "object.o")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "warning" not in done.stderr.lower(), done.stderr
    # ptxas says for each kernel: its name and architecture, stack and spills, registers and shared memory.
    entries = re.findall(
        r"Compiling entry function '(\S+)' for 'sm_(\d+)'.*?(\d+) bytes stack frame, (\d+) bytes spill stores, "
        r"(\d+) bytes spill loads.*?Used (\d+) registers",
        done.stderr,
        re.DOTALL,
    )
    for kernel in (TENSOR_KERNELS | ROW_KERNELS)[source]:
        found = [entry for entry in entries if kernel in entry[0]]
        assert {entry[1] for entry in found} == set(targets)
        for _, _, *bytes_, registers in found:
            assert list(map(int, bytes_)) == [0, 0, 0]
            # Two blocks of 128 threads share the 65536 registers of a multiprocessor; of those for rows, more hide
            # the latency of memory.
            assert int(registers) <= (256 if source in TENSOR_KERNELS else 80)


def test_a_warp_for_each_row_waits_for_no_other(tmp_path):
    """mean_direction of rows of 1536: what a pass takes for one row, and that the row and the sums are in registers."""
    if sass.tool() is None:
        pytest.skip("there is no cuobjdump")
    if "90" not in architectures():
        pytest.skip("this nvcc knows no sm_90")
    types = {"__nv_bfloat16": (8, 6, 240), "float": (4, 12, 220)}  # elements of a pack, packs of a lane, instructions
    lines = [
        f"template __global__ void sum_directions<{name}, {width}, {packs}>(const {name}*, std::int64_t, std::int64_t, "
        "std::int64_t, std::int64_t, float*, BadRows*);"
        for name, (width, packs, _) in types.items()
    ]
    source, cubin = tmp_path / "one.cu", tmp_path / "one.cubin"
    head = '#include "cuda/warp_directions.cuh"\nnamespace dataprophet::cuda::warps {\n'
    source.write_text(head + "\n".join(lines) + "\n}\n")
    command = [NVCC, "-std=c++17", "-O3", "-arch=sm_90", f"-I{ROOT / 'csrc'}", "-cubin", str(source), "-o", str(cubin)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found = sass.kernels(cubin.read_bytes())
    assert len(found) == len(types)
    for kernel in found:
        _, packs, most = types["float" if "IfLi" in kernel.name else "__nv_bfloat16"]
        assert kernel.stack == 0
        assert kernel.registers <= 168  # three blocks of 128 threads share the 65536 of a multiprocessor
        rows = [
            loop for loop in kernel.loops() if sass.count(kernel.code[loop.start : loop.stop], "LDG.E.128") == packs
        ]
        code = kernel.passes(min(rows, key=len), *DOUBLE)
        assert len(code) <= most, len(code)
        assert sass.count(code, "FFMA") >= 96  # squares and sums of 48 elements
        assert sass.count(code, "SHFL") == 5
        assert sass.count(code, "BAR") == 0


def test_all_kernels_compile(tmp_path):
    """To PTX, which checks the language: the build does the rest, and so do the tests of the tensor kernels."""
    target = architectures()[0]

    def compile_one(source):
        command = [NVCC, "-std=c++17", f"-arch=compute_{target}", f"-I{ROOT / 'csrc'}", "-ptx", str(source)]
        command += ['-DDATAPROPHET_CUDA_ARCHITECTURES=""', "-o", str(tmp_path / f"{source.stem}.ptx")]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    sources = sorted((ROOT / "csrc" / "cuda").glob("*.cu"))
    with ThreadPoolExecutor(2) as pool:
        for source, done in zip(sources, pool.map(compile_one, sources), strict=True):
            assert done.returncode == 0, done.stderr
            assert not done.stderr.strip(), done.stderr
            text = (tmp_path / f"{source.stem}.ptx").read_text()
            # Sums of floats by atomics would depend on the order of the threads.
            assert not re.search(r"\b(atom|red)\.\S*add\.(noftz\.)?f(16|32|64)", text), source.name
            if source.name in TENSOR_KERNELS:
                assert "mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32" in text
                assert "ldmatrix.sync.aligned.m8n8.x4.shared.b16" in text
                assert "cp.async.cg.shared.global" in text
