"""The emulator of CUDA itself: what it computes, the faults it finds, and the kernels under its sanitizers."""

import os
import subprocess
import sys
from pathlib import Path

import cuda_emulated
import numpy as np
import pytest

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(cuda_emulated.compiler() is None, reason="there is no C++ compiler"),
]


def test_emulated_tensor_core(emulated):
    rng = np.random.default_rng(0)
    a, b = rng.integers(-30, 30, (16, 16)), rng.integers(-30, 30, (8, 16))
    found = emulated.multiply_matrices(a.astype(np.float16), b.astype(np.float16))
    np.testing.assert_array_equal(found, a @ b.T)


def test_emulated_conversions(emulated):
    """All float16 numbers, numbers half way between two, and others, to the bit."""
    bfloat16 = pytest.importorskip("ml_dtypes").bfloat16
    halves = np.arange(0x7C00, dtype=np.uint16).view(np.float16).astype(np.float32)
    middle = (halves[1:] + halves[:-1]) / 2
    others = np.random.default_rng(0).integers(0, 2**32, 20000, dtype=np.uint32).view(np.float32)
    values = np.concatenate(
        [halves, middle, np.nextafter(middle, 0), others[np.isfinite(others)], [np.inf, 65519, 65520]]
    )
    values = np.concatenate([values, -values]).astype(np.float32)
    half, bfloat, back = emulated.convert(values)
    with np.errstate(over="ignore"):
        expected = values.astype(np.float16)
    np.testing.assert_array_equal(half, expected.view(np.uint16))
    np.testing.assert_array_equal(back, expected.astype(np.float32))
    np.testing.assert_array_equal(bfloat, values.astype(bfloat16).view(np.uint16))


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("barrier_for_some", "threads wait for others at __syncthreads"),
        ("shuffle_for_some", "threads wait for others at __shfl_xor_sync"),
    ],
)
def test_emulator_finds_threads_that_do_not_come(emulated, fault, message):
    with pytest.raises(RuntimeError, match=message):
        emulated.planted(fault)
    assert emulated.mean_direction(np.eye(3, dtype=np.float32))[1] == (0, 0, -1)  # and goes on to work


def test_emulator_shows_races_and_late_copies(emulated):
    results = set()
    for order in (0, 1, 5):
        emulated.order(order)
        results.add(emulated.planted("no_barrier").tobytes())
    emulated.order(0)
    assert len(results) > 1
    assert (emulated.planted("no_wait") == 0.0).all()


@pytest.mark.parametrize("fault", ["none", "beyond_global", "beyond_shared", "misaligned"])
def test_sanitizers_watch_the_kernels(fault, sanitized):
    """All operations on odd shapes touch nothing outside their arrays, and planted faults are found."""
    library, environment = sanitized
    program = Path(cuda_emulated.__file__).with_name("cuda_sanitized.py")
    done = subprocess.run(
        [sys.executable, str(program), str(library), fault],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    if fault == "none":
        assert done.stdout.strip() == "fine", done.stderr
    else:
        found = {"misaligned": "misaligned address"}.get(fault, "heap-buffer-overflow")
        assert done.returncode != 0
        assert found in done.stderr


@pytest.fixture(scope="module")
def sanitized(shared_folder):
    compiler = cuda_emulated.compiler()
    libraries = [
        subprocess.run(
            [compiler, f"-print-file-name={name}"], capture_output=True, text=True, check=True
        ).stdout.strip()
        for name in ("libasan.so", "libstdc++.so")
    ]
    if not all(Path(library).is_absolute() for library in libraries):
        pytest.skip("the compiler has no AddressSanitizer")
    flags = ("-O1", "-fsanitize=address,undefined", "-fno-sanitize-recover=all")
    library = cuda_emulated.build(shared_folder / "cuda_sanitized", flags)
    return library, {
        **os.environ,
        "PYTHONPATH": str(Path(cuda_emulated.__file__).parent),
        "LD_PRELOAD": " ".join(libraries),
        "ASAN_OPTIONS": "detect_leaks=0",
    }
