"""``Dataset``: read anew, row by row, each time it is iterated; a sample by its number; divided over torch's workers.

For everyone who wants samples or rows. ``opening`` makes it of what a user has.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import operator
import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Any, SupportsIndex

from dataprophet.data.export.notebook import html_table
from dataprophet.data.files.rows import opened
from dataprophet.data.formats.detect import Told, describe
from dataprophet.data.formats.reading import FileReading, HeldReading, SampleIndex
from dataprophet.data.ids import KnownIds
from dataprophet.data.images.sources import image_sources
from dataprophet.data.index import FileIndex, in_cells, index_file, relative_name, state_of
from dataprophet.data.sample import Conversation, Problem, ProblemLog, Sample, Tally, check_bad
from dataprophet.errors import (
    DataError,
    MissingDependencyError,
    NotCountedError,
    checked,
    explained,
    install,
    require,
    require_type,
)

if TYPE_CHECKING:
    from dataprophet.data.export.torch_samples import TorchSamples


@checked()
@dataclass(repr=False)
class Dataset:
    """Rows on disk or in memory. Iterating yields samples; rows that cannot be used are logged and left out.

    ``len(dataset)`` counts the samples and ``dataset[i]`` gives the i-th of them. The first of these reads all rows
    once, and so does ``list``, which asks for the length.

    Attributes:
        name: the stem of the path, or the name given.
        path: as given by the user; empty for a dataset in memory.
        format: one of ``dataprophet.data.formats()``; ``memory`` for samples in memory.
        files: the data files, in order.
        limit: stop after this many good rows.
        strict: raise DataError at the first bad row.
        problems: what was left out in the last (or the running) iteration.
        arguments: of ``open_dataset``, to open it once more in another process; empty for a dataset in memory.
    """

    name: str
    path: str
    format: str
    files: tuple[str, ...]
    read: Callable[[], Iterator[Conversation | Problem]] = field(repr=False)
    limit: int | None = None
    strict: bool = False
    problems: ProblemLog = field(default_factory=ProblemLog, repr=False)
    settings: str = field(default="", repr=False)
    arguments: Mapping[str, Any] = field(default_factory=dict, repr=False)
    _samples: tuple[Sample, ...] | None = field(default=None, repr=False)
    _reading: FileReading | HeldReading | None = field(default=None, repr=False)
    _told: Told = field(default_factory=lambda: Told([], []), repr=False)
    _again: Callable[[], Dataset] | None = field(default=None, repr=False)
    _located: tuple[int | None, Sequence[Sample]] | None = field(default=None, repr=False, compare=False)

    @classmethod
    @checked("samples")
    def from_samples(cls, name: str, samples: Iterable[Sample]) -> Dataset:
        """A dataset of samples in memory."""
        require_type(samples, Iterable, "from_samples", "give samples", DataError)
        kept = tuple(samples)
        for sample in kept:
            require_type(sample, Sample, name, "give samples; open_dataset takes rows", DataError)
        return cls(name, "", "memory", (), lambda: map(_as_conversation, kept, itertools.count(1)), _samples=kept)

    def rows(self) -> Iterator[Conversation | Problem]:
        """Every row in file order, good or bad.

        A row whose id occurs before is called ``<id>@<file>:<row>``; one that is equal to an earlier row of its id is a
        Problem (``duplicate_row``).

        Raises:
            DataError: a file as a whole cannot be read.
        """
        settled_by, good = self._settler(), 0
        if self.limit == 0:
            return
        for row in self.read():
            settled = settled_by(row)
            yield settled
            good += isinstance(settled, Conversation)
            if good == self.limit:
                return

    def _settler(self) -> Callable[[Conversation | Problem], Conversation | Problem]:
        """What gives each row, in order, an id that no other has; or a Problem."""
        folder = self._reading.folder if isinstance(self._reading, FileReading) else ""
        ids, turns = KnownIds(folder), self._samples is None
        return lambda row: ids.settled(row, turns=turns) if isinstance(row, Conversation) else row

    def __repr__(self) -> str:
        return f"<Dataset {self.name!r}: {', '.join(f'{name} {text}' for name, text in self._facts().items())}>"

    def _repr_html_(self) -> str:
        return html_table([], list(self._facts().items()), f"Dataset {self.name}")

    def _facts(self) -> dict[str, str]:
        """What it tells of itself without reading a row."""
        facts = {"format": self.format, "path": self.path or "in memory"}
        facts |= {"files": f"{len(self.files):,}"} if self.files else {}
        return facts if self.limit is None else {**facts, "limit": f"{self.limit:,}"}

    def __bool__(self) -> bool:
        return True  # whatever its length, which costs a pass

    def __len__(self) -> int:
        return len(self._by_number())

    def __getitem__(self, number: SupportsIndex) -> Sample:
        fix = "give a whole number"
        with explained(TypeError, DataError, "this is no number of a sample", self.name, fix):
            place = operator.index(number)
        samples = self._by_number()
        if not -len(samples) <= place < len(samples):
            raise IndexError(f"{self.name} has {len(samples):,} samples, and none of number {place}")
        return samples[place % len(samples)]

    def _by_number(self) -> Sequence[Sample]:
        """The samples by number. Raises NotCountedError where rows come in order alone."""
        if self._located is not None and self._located[0] == self.limit:
            return self._located[1]
        found: Sequence[Sample]
        if self._samples is not None:
            found = tuple(iter(self.__iter__()))
        else:
            fix = "load it with the datasets package, and open what it gives"
            require(self._reading, "its rows come in order alone", self.name, fix, NotCountedError)
            assert self._reading is not None
            found = SampleIndex(self._reading.cells(), partial(self._kept, self._settler()), self.limit)
        self._located = self.limit, found
        return found

    def _kept(
        self, settled: Callable[[Conversation | Problem], Conversation | Problem], row: Conversation | Problem
    ) -> Conversation | None:
        found = settled(row)
        if isinstance(found, Problem):
            self.leave_out(found, ProblemLog())
            return None
        return found

    @checked()
    def torch(
        self,
        transform: Callable[[Sample], Any] | None = None,
        *,
        rank: int | None = None,
        world_size: int | None = None,
    ) -> TorchSamples:
        """The samples as a ``torch.utils.data.IterableDataset``: each once over all workers and ranks.

        Args:
            transform: what a worker makes of a sample, such as the inputs of a model; by default the sample itself, of
                which images are decoded where they are read. A ``DataLoader`` needs a ``collate_fn`` for it.
            rank: of this process; by default that of ``torch.distributed``, or of ``torchrun``.
            world_size: processes that share the samples; likewise.

        Raises:
            MissingDependencyError: torch is not installed.
            DataError: rank and world size do not go together.
        """
        fix = install("model")
        with explained(ImportError, MissingDependencyError, "torch is not there", self.name, fix):
            from dataprophet.data.export.torch_samples import TorchSamples
        return TorchSamples(self, transform, rank, world_size)

    def __reduce__(self) -> tuple[Any, ...]:
        again = self._again
        if self._samples is not None:
            again = partial(Dataset.from_samples, self.name, self._samples)
        require(again, "it was made by hand, and cannot be sent on", self.name, "open it again where it is needed")
        return _opened_again, (again, self.name, self.limit, self.strict)

    def __iter__(self) -> Iterator[Sample]:
        self.problems = log = ProblemLog()
        for row in self.rows():
            if isinstance(row, Problem):
                self.leave_out(row, log)
            elif self._samples is None:
                yield from row.samples()
            else:
                yield replace(self._samples[row.row - 1], id=row.id)

    def told(self) -> Told:
        """What was found out about how the rows are to be read, and what of them is not read."""
        if not isinstance(self._reading, FileReading):
            return self._told
        found = describe(self.files, self.format, self._reading.options, (self._reading.format.columns or {}).values())
        return Told([*found.guesses, *self._told.guesses], found.warnings)

    def check_bad(self, max_bad: float) -> tuple[Tally, Counter[str]]:
        """Read all rows: what they hold, and problems by code. Raises DataError where too large a share is bad."""
        tally, codes = Tally(), Counter[str]()
        for row in self.rows():
            tally.add(row)
            codes.update([row.code] if isinstance(row, Problem) else [])
        check_bad(codes, tally.rows, max_bad, self.name)
        return tally, codes

    def leave_out(self, row: Problem, log: ProblemLog) -> None:
        """Note a row that cannot be used. Raises DataError where the dataset is strict."""
        if self.strict:
            place = f"{row.file} row {row.row}" if row.file else self.name
            raise DataError(row.message, where=f"{place} (id {row.id})" if row.id else place, fix=row.fix)
        log.add(row)

    def index(self, number: int) -> FileIndex:
        """Read one of the files once, for its digest and where its rows begin. ``limit`` does not count here.

        Raises:
            DataError: the file cannot be read, or the dataset has no files of its own.
        """
        reading = self._require_files()
        path = self.files[number]
        reading.options.check_columns(path)
        return index_file(path, relative_name(path, reading.folder))

    def state(self, number: int) -> list[int] | str | None:
        """Size and time of change of one of the files, or its version behind a URL; None where they are not known.

        While it is the same, the index is taken to be.
        """
        return state_of(self.files[number])

    def read_cells(self, index: FileIndex, first: int, last: int) -> Iterator[list[Conversation | Problem]]:
        """Rows of the cells [first, last) of a file, a list for each cell: 1,024 rows, fewer in the file's last cell.

        Every row of the file gives one entry. Ids that occur before are not noticed: see ``Shard.settle``.

        Raises:
            DataError: the file is damaged, or has changed since it was indexed.
        """
        reading = self._require_files()
        return in_cells(reading.part(index, first, last))

    @property
    def folder(self) -> str:
        """The folder that the names of its files are relative to. Raises DataError where it has no files."""
        return self._require_files().folder

    def _require_files(self) -> FileReading:
        if not isinstance(self._reading, FileReading):
            fix = "write it with save_to_disk of the datasets package, and give that folder"
            raise DataError("it has no files that are read in parts", where=self.path or self.name, fix=fix)
        return self._reading

    def fingerprint(self) -> str:
        """SHA-256 over the bytes of the data files and the reading options; image files count by their path only.

        For a dataset in memory, over texts and the bytes of images. For ``hf:NAME``, over name and options.
        """
        digest = hashlib.sha256(self.settings.encode())
        for path in self.files:
            digest.update(f"\0{os.path.basename(path)}\0".encode())
            with opened(path) as file:
                digest.update(hashlib.file_digest(file, "sha256").digest())
        for row in self.read() if not self.path else ():
            if isinstance(row, Conversation):
                images = [source.digest() for source in row.sources]
                turns = [(turn.question, turn.answer, turn.image_offsets) for turn in row.turns]
                digest.update(json.dumps([row.id, images, turns]).encode())
        return digest.hexdigest()


def _opened_again(again: Callable[[], Dataset], name: str, limit: int | None, strict: bool) -> Dataset:
    """A dataset of another process."""
    dataset = again()
    dataset.name, dataset.limit, dataset.strict = name, limit, strict
    return dataset


def _as_conversation(sample: Sample, number: int) -> Conversation:
    return Conversation(sample.id, image_sources(sample.images), sample.turns(), "", number)
