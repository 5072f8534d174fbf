"""Machine code of GPU kernels as Triton's cuobjdump prints it: what a thread takes, and the loops."""

from __future__ import annotations

import importlib.util
import math
import re
import subprocess
import tempfile
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

_LINE = re.compile(r"^\s*/\*([0-9a-f]{4,})\*/\s+(.*?);", re.M)
_TARGET = re.compile(r"\bBRA\S*\s.*?(0x[0-9a-f]+)")
_PREDICATE = re.compile(r"^@!?U?P\d+\s+")
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

    def loops(self) -> list[range]:
        """Places of each loop's instructions, the longest first: from where a branch goes back to, to the branch."""
        found = [range(to, place + 1) for place, text in enumerate(self.code) if (to := _goes_to(text)) < place]
        return sorted(found, key=len, reverse=True)

    def passes(self, loop: range, *avoided: str) -> tuple[str, ...]:
        """The fewest instructions that lead once through a loop, by none of the opcodes avoided."""
        ways: dict[int, int] = {loop.start: -1}
        waiting = deque([loop.start])
        while waiting:
            place = waiting.popleft()
            text, to = self.code[place], _goes_to(self.code[place])
            if place == loop[-1]:
                break
            always = opcode(text) in ("BRA", "EXIT", "RET") and not text.startswith("@")
            for following in ([] if always else [place + 1]) + ([int(to)] if to < math.inf else []):
                if following in loop and following not in ways and not opcode(self.code[following]).startswith(avoided):
                    ways[following] = place
                    waiting.append(following)
        else:
            raise AssertionError(f"{self.name}: no way through the loop")
        path = [loop[-1]]
        while ways[path[-1]] >= 0:
            path.append(ways[path[-1]])
        return tuple(self.code[place] for place in reversed(path))


def opcode(text: str) -> str:
    """What an instruction does, its predicate aside."""
    return _PREDICATE.sub("", text).split(" ")[0]


def _goes_to(text: str) -> float:
    """Place that an instruction may branch to; infinity for none."""
    branch = _TARGET.search(text)
    return int(branch[1], 16) // _BYTES if branch else math.inf


def count(code: Iterable[str], *opcodes: str) -> int:
    """How many instructions have an opcode that begins with one of these."""
    return sum(opcode(text).startswith(opcodes) for text in code)


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
