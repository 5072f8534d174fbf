"""Every interleaving of processes on one folder, each with a crash at any moment, over the code of ``store/`` itself.

A process is a list of acts, functions of a store. The store's modules see a file system that is a value; each of their
calls is a step. What a process does next follows from the answers that it got so far: the act is run again with them,
up to the call that has none. So a state is a value: the files, who has died, and the answers of each process. States
that are equal are looked at once, and the search ends where there is no new one.

A step that commutes with all that the others may do is taken before them (``settled``). That is sound as long as no
process touches files that another one names after itself, and no marker changes. Both are checked at every step.
Where markers may be withdrawn, no step on them is taken before those of others.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from scheduled_files import Files, Violation, apply_to_folder, require_whole, settled
from scheduled_system import LOST, System

_DEAD, _ENDED = -1, -2
_READER, _LAST = "reader", "last"


class Act(NamedTuple):
    """Something that a process does: what its store is asked, and what must hold of the answer.

    ``run`` gets the store, the name of the process and the value of the act before. ``check`` gets the files, the
    process and the value that ``run`` returned, and tells whether the process ends here.
    """

    run: Callable[[Any, str, Any], Any]
    check: Callable[[Files, str, Any], bool] = lambda *_: False


class Search:
    """All states of processes that run side by side, and of ``last``, which comes when they have ended.

    Args:
        make: opens a store for a process.
        programs: the acts of each process. Names that begin with ``reader`` are of processes that write nothing under
            names of their own: it does not matter which of them is which, and one that dies is one that waits.
        system: what the stores are patched with.
        apply: what a step may do: answers, each with the files after it.
        lasting: no process removes the folder of temporary files.
    """

    def __init__(
        self,
        make: Callable[[], Any],
        programs: dict[str, list[Act]],
        system: System,
        apply: Callable[..., list[tuple[Any, Files]]] = apply_to_folder,
        *,
        lasting: bool = False,
    ) -> None:
        self._make, self._system, self._outcomes, self._lasting = make, system, apply, lasting
        self._names = [_READER if name.startswith(_READER) else name for name in programs]
        self._programs = {_READER if name.startswith(_READER) else name: acts for name, acts in programs.items()}
        self._readers = self._names.count(_READER)
        assert self._names[: self._readers] == [_READER] * self._readers
        self._files: list[Files] = []
        self._file_ids: dict[Any, int] = {}
        self._nodes: list[tuple[str, int, Any, tuple[Any, ...]]] = []  # process, act, value before, answers
        self._steps: list[tuple[Any, ...]] = []  # of each node
        self._node_ids: dict[Any, int] = {}
        self._moves: dict[tuple[int, int], tuple[bool, list[tuple[int, int]]]] = {}
        self._deaths: dict[tuple[int, str], int] = {}

    def run(self, start: Files | None = None) -> int:
        """Look at every state; how many there are. Raises Violation."""
        first = (self._files_id(start or Files()), *(self._node(name, 0, None, ()) for name in self._names))
        came: dict[tuple[int, ...], tuple[tuple[int, ...], int, bool] | None] = {first: None}
        waiting = [first]
        state = first
        try:
            while waiting:
                state = waiting.pop()
                for who, died, after in self._next(state):
                    if after not in came:
                        came[after] = state, who, died
                        waiting.append(after)
        except Violation as violation:
            raise Violation("\n".join([*self._way(state, came), str(violation)])) from None
        return len(came)

    def _next(self, state: tuple[int, ...]) -> Iterator[tuple[int, bool, tuple[int, ...]]]:
        """Who moves, whether by dying, and the state after it."""
        now, nodes = state[0], state[1:]
        able = [who for who in range(len(nodes)) if nodes[who] != _DEAD and self._names[who] != _LAST]
        able = able or [len(nodes) - 1]
        for who in able:
            if nodes[who] != _ENDED and self._move(now, nodes[who])[0]:
                able = [who]
                break
        for who in able:
            if self._names[who] not in (_READER, _LAST):
                yield who, True, self._moved(self._death(now, self._names[who]), nodes, who, _DEAD)
            if nodes[who] != _ENDED:
                for then, node in self._move(now, nodes[who])[1]:
                    yield who, False, self._moved(then, nodes, who, node)

    def _moved(self, files: int, nodes: tuple[int, ...], who: int, node: int) -> tuple[int, ...]:
        after = [*nodes]
        after[who] = node
        readers = self._readers
        if who < readers:
            after[:readers] = sorted(after[:readers])
        return (files, *after)

    def _death(self, now: int, name: str) -> int:
        if (now, name) not in self._deaths:
            after = self._files[now].copy()
            after.dead |= {name}
            self._deaths[now, name] = self._files_id(after)
        return self._deaths[now, name]

    def _move(self, now: int, node: int) -> tuple[bool, list[tuple[int, int]]]:
        """Whether the step of a process is settled, and what it may lead to: files, and the process after it."""
        known = self._moves.get((now, node))
        if known is None:
            (process, act, given, answers), step, files = self._nodes[node], self._steps[node], self._files[now]
            if step[0] == "end":
                known = True, [(now, self._end(files, process, act, step[1]))]
            else:
                found = self._outcomes(files, process, *step)
                after = [
                    (self._files_id(then), self._node(process, act, given, (*answers, each))) for each, then in found
                ]
                known = settled(files, self._lasting, process, *step), after
            self._moves[now, node] = known
        return known

    def _end(self, files: Files, process: str, act: int, value: Any) -> int:
        if isinstance(value, Exception):
            raise Violation(f"{process} ends with {type(value).__name__}: {value}")
        acts = self._programs[process]
        if value is not LOST and not acts[act].check(files, process, value) and act + 1 < len(acts):
            return self._node(process, act + 1, value, ())
        return _DEAD if process == _READER else _ENDED

    def _node(self, *node: Any) -> int:
        found = self._node_ids.get(node)
        if found is None:
            process, act, given, answers = node
            run = self._programs[process][act].run
            self._steps.append(self._system.run(process, act, lambda name: run(self._make(), name, given), answers))
            found = self._node_ids[node] = len(self._nodes)
            self._nodes.append(node)
        return found

    def _files_id(self, files: Files) -> int:
        key = files.key()
        found = self._file_ids.get(key)
        if found is None:
            require_whole(files)
            found = self._file_ids[key] = len(self._files)
            self._files.append(files)
        return found

    def _way(self, state: tuple[int, ...], came: dict[Any, Any]) -> list[str]:
        lines: list[str] = []
        while came[state] is not None:
            before, who, died = came[state]
            step = "dies" if died else " ".join(str(each)[:60] for each in self._steps[before[who + 1]])
            lines.append(f"{self._names[who]} {step}")
            state = before
        return lines[::-1]
