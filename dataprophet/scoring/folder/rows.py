"""The rows that scoring writes: one for each sample, and one for each input row that gives none."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from dataprophet.data.files.rows import as_unicode
from dataprophet.data.sample import Conversation, Problem, Sample
from dataprophet.features.features import FIELDS, Features
from dataprophet.scoring.targets import SampleScores

OK, CRASHED, BAD_FEATURES, OUT_OF_MEMORY = "ok", "crashed", "bad_features", "out_of_memory"
SIMILARITIES = {"question": "QSim", "answer": "ASim", "image": "ISim"}
"""Field -> the name of its similarity in column names, such as ``QSim:chartqa``."""

_STATUS = {"undecodable_image": "decode_error"}  # the other statuses are the codes of problems


DETAILS = ("mean_rank", "mean_entropy")
"""Columns with ``--details``, by the names that features have."""


def schema(targets: Sequence[str], *, nearest: bool, details: bool = False) -> pa.Schema:
    """Columns of a rows file."""
    words = pa.dictionary(pa.int32(), pa.string())
    names = ("id", "file", "position", "row", "turn", "status", "detail", "answer_tokens", "mean_nll")
    kinds = (pa.string(), words, pa.int64(), pa.int64(), pa.int32(), words, pa.string(), pa.int32(), pa.float32())
    columns = [*zip(names, kinds, strict=True), *((name, pa.float32()) for name in DETAILS if details)]
    for target in targets:
        columns += [(f"{name}:{target}", pa.float32()) for name in (*SIMILARITIES.values(), "M")]
        if nearest:
            columns.append((f"Nearest:{target}", pa.float32()))
    return pa.schema(columns)


@dataclass(slots=True)
class Line:
    """One output row before it has numbers."""

    id: str
    position: int
    row: int
    turn: int
    status: str = OK
    detail: str | None = None


@dataclass
class Lines:
    """The output rows of a cell, in the order of the input, and the samples among them.

    Attributes:
        lines: the rows.
        samples: the cell's samples.
        place: for each sample, its row.
    """

    lines: list[Line] = field(default_factory=list)
    samples: list[Sample] = field(default_factory=list)
    place: list[int] = field(default_factory=list)

    @classmethod
    def of(cls, entries: Sequence[Conversation | Problem], first: int) -> Lines:
        """Lines of raw rows, the first of which stands at position ``first`` of its file."""
        made = cls()
        for position, entry in enumerate(entries, first):
            if isinstance(entry, Problem):
                made.lines.append(Line(entry.id, position, entry.row, 0, status_of(entry), entry.message))
                continue
            for turn, sample in zip(entry.scored(), entry.samples(), strict=True):
                made.place.append(len(made.lines))
                made.samples.append(sample)
                made.lines.append(Line(sample.id, position, entry.row, turn))
        return made

    def refuse(self, sample: int, status: str, detail: str) -> None:
        """Give a sample a status other than ok."""
        line = self.lines[self.place[sample]]
        line.status, line.detail = status, detail

    def columns(self, file: str) -> Columns:
        """The lines as columns of a rows file."""
        lines = self.lines
        position, row = (np.array([getattr(line, key) for line in lines], np.int64) for key in ("position", "row"))
        turn, place = np.array([line.turn for line in lines], np.int32), np.array(self.place, np.int64)
        status, detail = pa.array([line.status for line in lines], pa.string()), _texts([line.detail for line in lines])
        return Columns(_texts([line.id for line in lines]), file, position, row, turn, status, detail, place)


@dataclass(frozen=True)
class Columns:
    """The columns of output rows that do not depend on scores.

    Attributes:
        id: (n,) ids.
        file: name of the data file.
        position: (n,) int64 raw row of the file, from 0.
        row: (n,) int64 number of the row as messages give it.
        turn: (n,) int32 turn of the conversation, from 1; 0 for a row that gives no sample.
        status: (n,) statuses.
        detail: (n,) what is wrong, null where nothing is.
        place: (m,) int64 output row of each sample.
    """

    id: pa.Array
    file: str
    position: NDArray[np.int64]
    row: NDArray[np.int64]
    turn: NDArray[np.int32]
    status: pa.Array
    detail: pa.Array
    place: NDArray[np.int64]

    def refused(self, reasons: Mapping[int, str]) -> Columns:
        """The same with samples that cannot be used; ``reasons`` of each, by its number."""
        if not reasons:
            return self
        status, detail = self.status.to_pylist(), self.detail.to_pylist()
        for sample, reason in reasons.items():
            status[self.place[sample]], detail[self.place[sample]] = BAD_FEATURES, reason
        return replace(self, status=pa.array(status, pa.string()), detail=pa.array(detail, pa.string()))


Batch = tuple[Columns, NDArray[np.int64], Features]
"""Output rows without scores, which of their samples have features, and those."""


def lines_of(file: str, ids: list[str], start: int) -> Columns:
    """What a rows file says of rows that are a sample each, the first at position ``start`` of its file."""
    n = len(ids)
    place, turn, status, detail = np.arange(n), np.ones(n, np.int32), pa.repeat(OK, n), pa.nulls(n, pa.string())
    return Columns(_texts(ids), file, place + start, place + start + 1, turn, status, detail, place)


def status_of(problem: Problem) -> str:
    """Status of a row with a problem: its code, by the name that rows files use."""
    return _STATUS.get(problem.code, problem.code)


def code_of(status: str) -> str:
    """Code of the problems of rows with a status."""
    return next((code for code, other in _STATUS.items() if other == status), status)


def table_of(
    columns: Columns,
    places: NDArray[np.int64],
    nll: NDArray[np.floating],
    tokens: NDArray[np.int64],
    *,
    scores: SampleScores,
    nearest: NDArray[np.float32] | None,
    targets: Sequence[str],
    details: Sequence[NDArray[np.floating]] = (),
) -> pa.Table:
    """Output rows.

    Args:
        columns: what is known without scores.
        places: (n,) which of the samples have scores.
        nll: (n,) of those.
        tokens: (n,) answer tokens of those.
        scores: their scores.
        nearest: (n, T) largest cosine to a sample of each target, or None.
        targets: names of the T targets.
        details: (n,) for each of ``DETAILS``, or nothing.
    """
    count = len(columns.id)
    where = columns.place[places]
    every = np.array_equal(where, np.arange(count))

    def spread(values: NDArray[Any], dtype: Any) -> pa.Array:
        """Values of the scored samples among all lines, null elsewhere and where they are NaN."""
        unknown = np.isnan(values)
        if every and not unknown.any():
            return pa.array(values.astype(dtype, order="C"))
        full = np.zeros(count, dtype)
        missing = np.ones(count, np.bool_)
        full[where], missing[where] = values, unknown
        return pa.array(full, mask=missing)

    file = pa.DictionaryArray.from_arrays(np.zeros(count, np.int32), [as_unicode(columns.file)])
    made: list[Any] = [columns.id, file, *map(pa.array, (columns.position, columns.row, columns.turn))]
    made += [columns.status.dictionary_encode(), columns.detail, spread(tokens, np.int32), spread(nll, np.float32)]
    made += [spread(values, np.float32) for values in details]
    for number in range(len(targets)):
        for name in FIELDS:
            given = scores.similarities.get(name)
            made.append(pa.nulls(count, pa.float32()) if given is None else spread(given[:, number], np.float32))
        made.append(spread(scores.values[:, number], np.float32))
        if nearest is not None:
            made.append(spread(nearest[:, number], np.float32))
    return pa.Table.from_arrays(made, schema=schema(targets, nearest=nearest is not None, details=bool(details)))


def write_rows(table: pa.Table, path: str) -> None:
    """Write output rows. Only columns of words have dictionaries: scores hardly repeat, and trying costs the most.

    The bytes of scores are sorted by their place: exponents that repeat make the file up to a ninth smaller.
    """
    scores = [column.name for column in table.schema if pa.types.is_float32(column.type)]
    words = ["file", "status", "detail"]
    pq.write_table(table, path, compression="zstd", use_dictionary=words, use_byte_stream_split=scores)


class RowsDigest:
    """SHA-256 over a stream of record batches: for each column its values, which are null, and the lengths of texts."""

    def __init__(self) -> None:
        self._columns: dict[str, hashlib._Hash] = {}

    def update(self, batch: pa.RecordBatch) -> None:
        """Add rows."""
        for name, column in zip(batch.schema.names, batch.columns, strict=True):
            plain = column.dictionary_decode() if pa.types.is_dictionary(column.type) else column
            valid = plain.is_valid().to_numpy(zero_copy_only=False)
            self._columns.setdefault(f"{name} valid", hashlib.sha256()).update(valid.astype(np.uint8).tobytes())
            for kind, values in _bytes(plain).items():
                self._columns.setdefault(f"{name} {kind}", hashlib.sha256()).update(values)

    def hexdigest(self) -> str:
        """Hex digest of all columns in order of their names."""
        total = hashlib.sha256()
        for name, found in sorted(self._columns.items()):
            total.update(f"{name}\0{found.hexdigest()}\n".encode())
        return total.hexdigest()


def _texts(texts: Sequence[str | None]) -> pa.Array:
    """Texts as Arrow takes them: half of a surrogate pair, which JSON may hold, becomes a question mark."""
    try:
        return pa.array(texts, pa.string())
    except UnicodeEncodeError:
        return pa.array([text and text.encode("utf-8", "replace").decode() for text in texts], pa.string())


def _bytes(column: pa.Array) -> dict[str, bytes | memoryview]:
    """The values of a column as bytes whose concatenation over batches does not depend on where batches end."""
    if pa.types.is_string(column.type):
        text = column.fill_null("").cast(pa.large_string())
        _, ends, data = text.buffers()
        if not len(text):
            return {}
        offsets = np.frombuffer(ends, np.int64, len(text) + 1, text.offset * 8)
        return {"lengths": np.diff(offsets).tobytes(), "values": memoryview(data or b"")[offsets[0] : offsets[-1]]}
    values: NDArray[np.generic] = column.fill_null(0).to_numpy(zero_copy_only=False)
    return {"values": values.tobytes()}
