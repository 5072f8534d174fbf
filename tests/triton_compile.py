"""Compiles the Triton kernels for GPUs that need not be there: run as a program by test_kernels.py."""

import re
import subprocess
import tempfile
from pathlib import Path

import triton
from dataprophet.kernels import segment_means, token_logprobs
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

KERNELS = [
    (
        token_logprobs._token_logprobs_kernel,
        {"logits": "*bf16", "targets": "*i64", "out": "*fp32", "stride": "i64", "V": "i32"},
        token_logprobs,
    ),
    (
        segment_means._segment_means_kernel,
        {"values": "*fp32", "offsets": "*i64", "out": "*fp32"},
        segment_means,
    ),
]


def stack_bytes(cubin: bytes) -> int:
    """Bytes that a thread spills to memory."""
    tool = Path(triton.__file__).parent / "backends" / "nvidia" / "bin" / "cuobjdump"
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(cubin)
        file.flush()
        usage = subprocess.run([tool, "-res-usage", file.name], capture_output=True, text=True, check=True).stdout
    return int(re.search(r"STACK:(\d+)", usage)[1])


if __name__ == "__main__":
    for architecture in (80, 90):
        for kernel, types, module in KERNELS:
            signature = {name: types.get(name, "constexpr") for name in kernel.arg_names}
            aligned = {(i,): [["tt.divisibility", 16]] for i, t in enumerate(signature.values()) if t.startswith("*")}
            source = ASTSource(kernel, signature, constexprs={"BLOCK": module.BLOCK}, attrs=aligned)
            target = GPUTarget("cuda", architecture, 32)
            made = triton.compile(source, target=target, options={"num_warps": module.WARPS})
            assert f".target sm_{architecture}" in made.asm["ptx"]
            assert stack_bytes(made.asm["cubin"]) == 0, (kernel, architecture)
    print("fine")
