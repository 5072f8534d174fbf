"""Compiles the Triton kernels for GPUs that need not be there: run as a program by test_kernels.py.

Every kernel, in every configuration of the tables, with everything optional and with nothing; none may spill registers.
"""

import re
import subprocess
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import sass
import triton
from dataprophet.kernels import (
    configurations,
    euclidean_silhouettes,
    linear_sweep,
    merge_logprobs,
    segment_means,
    token_logprobs,
)
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

ARCHITECTURES = (80, 90, 100)
# Of arguments that are not of the kernel's own; "D" and the strides are multiples of 16 where the data is aligned.
POINTERS = {
    "targets": "*i64",
    "bias": "*bf16",
    **dict.fromkeys(("out", "peaks", "totals", "second", "third"), "*fp32"),
}
NUMBERS = {
    **dict.fromkeys(("n", "V", "D", "stride", "hidden_row", "weight_row", "splits", "first"), "i32"),
    **dict.fromkeys(("scale", "softcap", "factor"), "fp32"),
}
ALIGNED = ("V", "D", "stride", "hidden_row", "weight_row")


@dataclass(frozen=True)
class Build:
    kernel: Any
    constants: dict[str, Any]
    warps: int
    stages: int = 3
    types: dict[str, str] = field(default_factory=dict)
    architectures: tuple[int, ...] = ARCHITECTURES
    aligned: bool = True

    def compile(self, architecture: int) -> Any:
        types = {**POINTERS, **NUMBERS, **self.types}
        signature = {name: types.get(name, "constexpr") for name in self.kernel.arg_names}
        signature |= dict.fromkeys(self.constants, "constexpr")
        divisible = ALIGNED if self.aligned else ()
        hints = {
            (i,): [["tt.divisibility", 16]]
            for i, (name, kind) in enumerate(signature.items())
            if kind != "constexpr" and (kind.startswith("*") or name in divisible)
        }
        source = ASTSource(self.kernel, signature, constexprs=self.constants, attrs=hints)
        options = {"num_warps": self.warps, "num_stages": self.stages, "enable_fp_fusion": True}
        return triton.compile(source, target=GPUTarget("cuda", architecture, 32), options=options)


def stack_bytes(cubin: bytes) -> int:
    """Bytes that a thread spills to memory."""
    tool = Path(triton.__file__).parent / "backends" / "nvidia" / "bin" / "cuobjdump"
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(cubin)
        file.flush()
        usage = subprocess.run([tool, "-res-usage", file.name], capture_output=True, text=True, check=True).stdout
    return int(re.search(r"STACK:(\d+)", usage)[1])


def head(wanted: bool) -> dict[str, bool]:
    return {"HAS_BIAS": wanted, "HAS_SOFTCAP": wanted, "FOLDED": not wanted}


def token_builds() -> list[Build]:
    sizes = {"LANES": token_logprobs.LANES, "NEIGHBOURS": token_logprobs.NEIGHBOURS}
    return [
        Build(
            token_logprobs._token_logprobs_kernel,
            {**sizes, **head(more)},
            token_logprobs.WARPS,
            types={"logits": dtype},
        )
        for dtype in ("*bf16", "*fp32")
        for more in (True, False)
    ]


def merge_builds() -> list[Build]:
    return [
        Build(
            merge_logprobs._merge_kernel,
            {"PARTS": parts, "NATS": 1.0, "BLOCK": merge_logprobs.BLOCK},
            merge_logprobs.WARPS,
            types={"targets": "*fp32"},
        )
        for parts in (False, True)
    ]


def silhouette_builds() -> list[Build]:
    module = euclidean_silhouettes
    shape = {"ROWS": module.ROWS, "COLUMNS": module.COLUMNS, "DEPTH": module.DEPTH}
    types = {
        name: f"tensordesc<fp16[{rows},{module.DEPTH}]>" for name, rows in (("a", module.ROWS), ("b", module.COLUMNS))
    }
    types |= {"norms": "*fp32", "halves": "*fp32", "sums": "*i64", "cluster_of": "*i32"}
    types |= {"n": "i32", "k": "i32", "depth": "i32"}
    return [
        Build(kernel, shape | more, module.WARPS, module.STAGES, types, (90,))
        for kernel, more in ((module._norms_kernel, {}), (module._tiles_kernel, {"SIDE": module.SIDE}))
    ]


def linear_builds(
    configuration: configurations.Configuration, architectures: tuple[int, ...], left: str, right: str, aligned: bool
) -> list[Build]:
    shared = {"WIDE": left != right or left == "fp32", "DEPTH": configuration.depth}
    shared |= {"hidden_column": 1, "weight_column": 1}
    swept = {
        **shared,
        "DESCRIPTORS": configuration.descriptors,
        "FLAT": configuration.flat,
        "GROUP": linear_sweep.GROUP,
        "ROWS": configuration.rows,
        "COLUMNS": configuration.columns,
    }
    pointers = tiles = {"hidden": f"*{left}", "weight": f"*{right}"}
    if configuration.descriptors:
        tiles = {
            "hidden": f"tensordesc<{left}[{configuration.rows},{configuration.depth}]>",
            "weight": f"tensordesc<{right}[{configuration.columns},{configuration.depth}]>",
        }
    rest = {"architectures": architectures, "aligned": aligned}
    target = Build(
        linear_sweep._target_kernel,
        {**shared, **head(True), "PARTS": False, "ROWS": linear_sweep.TARGET_ROWS},
        linear_sweep.TARGET_WARPS,
        linear_sweep.TARGET_STAGES,
        pointers,
        **rest,
    )
    sweeps = [
        Build(
            linear_sweep._sweep_kernel,
            {**swept, **head(more)},
            configuration.warps,
            configuration.stages,
            tiles,
            **rest,
        )
        for more in (True, False)
    ]
    return [target, *sweeps]


def builds() -> list[Build]:
    """Every build that is to compile without spills."""
    found = [
        *silhouette_builds(),
        Build(
            segment_means._segment_means_kernel,
            {"BLOCK": segment_means.BLOCK},
            segment_means.WARPS,
            types={"values": "*fp32", "offsets": "*i64"},
        ),
        *token_builds(),
        *merge_builds(),
        *linear_builds(configurations.SCATTERED, ARCHITECTURES, "bf16", "bf16", False),
    ]
    for architecture in ARCHITECTURES:  # as a Triton without descriptors would
        pointers = configurations.configuration(architecture, sixteen_bit=True, regular=True, descriptors=False)
        found += linear_builds(pointers, (architecture,), "bf16", "bf16", True)
        found += linear_builds(pointers, (architecture,), "fp16", "fp16", True)
    for major, configuration in configurations.DESCRIPTORS.items():
        found += linear_builds(configuration, (10 * major,), "bf16", "bf16", True)
        found += linear_builds(configuration, (10 * major,), "fp16", "fp16", True)
    for major, configuration in configurations.WIDE.items():
        for left, right, aligned in (("fp32", "fp32", True), ("fp32", "bf16", True), ("fp32", "fp32", False)):
            found += linear_builds(configuration, (10 * major,), left, right, aligned)
    return found


def check_passes(build: Build, cubin: bytes) -> None:
    """What a pass through the longest loop of a kernel without bias and softcap takes on sm_90, and keeps to.

    Each logit is one multiply-add and one power of 2: no factor of its own, no number that is not normal, no mask.
    """
    limits = {"_sweep_kernel": (900, 128), "_token_logprobs_kernel": (116, 16)}  # instructions, logits of a thread
    most, logits = limits[build.kernel.__name__]
    [kernel] = sass.kernels(cubin)
    code = kernel.passes(kernel.loops()[0])
    counts = {name: sass.count(code, name) for name in ("FFMA", "MUFU.EX2", "FMUL", "FSEL")}
    assert len(code) <= most, (build, len(code))
    assert counts["FFMA"] >= logits, counts
    assert logits <= counts["MUFU.EX2"] <= logits + 4, counts
    assert max(counts["FMUL"], counts["FSEL"]) <= 4, counts


def counted(build: Build, architecture: int) -> bool:
    plain = not build.constants.get("HAS_BIAS", True)
    fast = build.constants.get("DESCRIPTORS", build.types.get("logits") == "*bf16")
    return architecture == 90 and plain and fast


if __name__ == "__main__":
    checked = 0
    for build in builds():
        for architecture in build.architectures:
            made = build.compile(architecture)
            assert f".target sm_{architecture}" in made.asm["ptx"], architecture
            spilled = stack_bytes(made.asm["cubin"])
            assert spilled == 0, (build, architecture, spilled)
            if counted(build, architecture):
                check_passes(build, made.asm["cubin"])
                checked += 1
    assert checked == 3, checked  # the sweep for two dtypes, and logits that are given
    print("fine")
