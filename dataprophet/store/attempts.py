"""Names for attempts at a piece of work, which tell what process made them and whether that still runs."""

from __future__ import annotations

import hashlib
import os
import platform
import secrets
import uuid
from contextlib import suppress
from functools import cache
from pathlib import Path

_UNKNOWN = "0"


def new_attempt() -> str:
    """A name that no other attempt has: machine, process, time of its start, and a random part, without dots."""
    pid = os.getpid()
    return f"{_machine()}-{pid}-{_status(pid)[1]}-{secrets.token_hex(4)}"


def is_alive(attempt: str) -> bool | None:
    """Whether the process that made an attempt still runs; None where that cannot be seen from here."""
    machine, _, rest = attempt.partition("-")
    pid, _, rest = rest.partition("-")
    started = rest.partition("-")[0]
    if machine != _machine() or not pid.isdecimal():
        return None
    try:
        os.kill(int(pid), 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        pass  # it runs, under another user
    state, now = _status(int(pid))
    # one that ended and was not waited for, or another process that was given the number
    return state not in ("Z", "X") and now in (started, _UNKNOWN)


def is_stopped(pid: int) -> bool:
    """Whether a process is held by a signal such as SIGSTOP, or by a debugger."""
    return _status(pid)[0] in ("T", "t")


@cache
def _machine() -> str:
    """Hash of what process numbers are unique within: the start of the machine and the namespace of the numbers."""
    known = [platform.node(), str(uuid.getnode())]
    with suppress(OSError):
        known = [Path("/proc/sys/kernel/random/boot_id").read_text().strip(), os.readlink("/proc/self/ns/pid")]
    return hashlib.blake2b("\0".join(known).encode(), digest_size=6).hexdigest()


def _status(pid: int) -> tuple[str, str]:
    """State of a process, and when it started in clock ticks since the machine did, where the system tells."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return _UNKNOWN, _UNKNOWN
    return fields[0], fields[19]  # fields 3 and 22 of proc(5)
