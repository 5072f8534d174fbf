"""Machine code of GPU kernels as Triton's cuobjdump prints it: what a thread takes, and the loops."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

_LINE = re.compile(r"^\s*/\*([0-9a-f]{4,})\*/\s+(.*?);", re.M)
_TARGET = re.compile(r"\bBRA\S*\s.*?(0x[0-9a-f]+)")
_BYTES = 16  # of an instruction


def tool() -> str | None:
    """Path of cuobjdump, None where Triton is not installed."""
    spec = importlib.util.find_spec("triton")
    path = Path(spec.origin).parent / "backends" / "nvidia" / "bin" / "cuobjdump" if spec and spec.origin else None
    return str(path) if path and path.exists() else None


@dataclass(frozen=True)
class Kernel:
    """A kernel's name, bytes of stack and registers of a thread, and instructions in the order of their addresses."""

    name: str
    stack: int
    registers: int
    code: tuple[str, ...]

    def loops(self) -> list[tuple[str, ...]]:
        """The instructions of each loop, the longest first: from where a branch goes back to, to the branch."""
        found = []
        for place, text in enumerate(self.code):
            branch = _TARGET.search(text)
            if branch and (first := int(branch[1], 16) // _BYTES) < place:
                found.append(self.code[first : place + 1])
        return sorted(found, key=len, reverse=True)


def count(code: tuple[str, ...], *opcodes: str) -> int:
    """How many instructions begin with one of these, predicates aside."""
    return sum(re.sub(r"^@!?U?P\d+\s+", "", text).startswith(opcodes) for text in code)


def kernels(cubin: bytes) -> list[Kernel]:
    """The kernels of a compiled module."""
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(cubin)
        file.flush()
        usage, code = (
            subprocess.run([tool(), flag, file.name], capture_output=True, text=True, check=True).stdout
            for flag in ("-res-usage", "-sass")
        )
    used = {
        name: (int(stack), int(registers))
        for name, registers, stack in re.findall(r"Function (\S+?):?\s+REG:(\d+) STACK:(\d+)", usage)
    }
    found = []
    for part in re.split(r"^\s*Function : ", code, flags=re.M)[1:]:
        name, _, text = part.partition("\n")
        instructions = tuple(match[2].strip() for match in _LINE.finditer(text))
        found.append(Kernel(name.strip(), *used[name.strip()], instructions))
    return found
