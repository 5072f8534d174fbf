"""Score matrices as CSV: the matrix itself, and its factors in a second file beside it."""

from __future__ import annotations

import csv
import io
import math
import os
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dataprophet.errors import MetricError
from dataprophet.files import write_text
from dataprophet.metric.matrix import FACTORS, TransferMatrix

CORNER = "source\\target"


def factors_path(path: str | os.PathLike[str]) -> Path:
    """Path of the factors file of a matrix file: ``scores.csv`` -> ``scores.factors.csv``."""
    return Path(path).with_suffix(".factors.csv")


def write(matrix: TransferMatrix, path: str | os.PathLike[str]) -> None:
    """Write the matrix and, if it has factors, its factors file; numbers in full, so that they read back exactly."""
    if matrix.factors:
        write_text(factors_path(path), _factor_rows(matrix))
    else:
        factors_path(path).unlink(missing_ok=True)
    lines = [[CORNER, *matrix.targets]]
    lines += [
        [name, *(repr(float(value)) for value in row)] for name, row in zip(matrix.sources, matrix.values, strict=True)
    ]
    write_text(path, _csv(lines))


def read(path: str | os.PathLike[str]) -> TransferMatrix:
    """Read a matrix and its factors file, if there is one."""
    rows = _rows(path)
    head = rows[0][1]
    if not head or head[0].strip().lower() != CORNER:
        got = head[0] if head else ""
        raise MetricError(f"the corner is {got!r}", where=f"{path} row 1", fix=f"write {CORNER} there")
    if len(head) < 2 or len(rows) < 2:
        raise MetricError("holds no scores", where=str(path), fix="give a row per source and a column per target")
    targets, sources, values = [name.strip() for name in head[1:]], [], []
    for number, row in rows[1:]:
        if len(row) != len(head):
            raise MetricError(
                f"{len(row)} cells, expected {len(head)}", where=f"{path} row {number}", fix="fill or remove the row"
            )
        sources.append(row[0].strip())
        values.append(
            [_number(text, f"{path} row {number}", name) for text, name in zip(row[1:], targets, strict=True)]
        )
    for number, name in [(1, name) for name in targets] + list(zip([n for n, _ in rows[1:]], sources, strict=True)):
        if not name:
            raise MetricError("a name is empty", where=f"{path} row {number}", fix="name every source and target")
    try:
        matrix = TransferMatrix(sources, targets, np.array(values))
    except MetricError as error:
        raise MetricError(error.what, where=str(path), fix=error.fix) from error
    beside = factors_path(path)
    return _with_factors(matrix, beside) if beside.is_file() else matrix


def _factor_rows(matrix: TransferMatrix) -> str:
    names = list(matrix.factors)
    head = [
        "target",
        "rank",
        "source",
        "score",
        "log_error",
        "next_error",
        *names,
        *(f"{name}_error" for name in names),
    ]
    blank = np.full(matrix.shape, np.nan)
    parts = [matrix.values, blank if matrix.log_error is None else matrix.log_error]
    parts += [blank if matrix.next_error is None else matrix.next_error]
    parts += [matrix.factors[name] for name in names] + [matrix.errors.get(name, blank) for name in names]
    lines = [head]
    for j, target in enumerate(matrix.targets):
        for place, i in enumerate(matrix.order(target), 1):
            numbers = ["" if math.isnan(part[i, j]) else repr(float(part[i, j])) for part in parts]
            lines.append([target, str(place), matrix.sources[i], *numbers])
    return _csv(lines)


def _with_factors(matrix: TransferMatrix, path: Path) -> TransferMatrix:
    rows = _rows(path)
    head = rows[0][1]
    names = [name for name in head if name in FACTORS]
    columns = ["score", "log_error", "next_error", *names, *(f"{name}_error" for name in names)]
    missing = [name for name in ("target", "source", *columns) if name not in head]
    if missing:
        raise MetricError(f"column {missing[0]!r} is missing", where=f"{path} row 1", fix="make the matrix again")
    parts = {name: np.full(matrix.shape, np.nan) for name in columns}
    source_row = {name: row for row, name in enumerate(matrix.sources)}
    target_column = {name: column for column, name in enumerate(matrix.targets)}
    for number, row in rows[1:]:
        where = f"{path} row {number}"
        if len(row) != len(head):
            raise MetricError(f"{len(row)} cells, expected {len(head)}", where=where, fix="make the matrix again")
        cell = dict(zip(head, row, strict=True))
        if cell["source"] not in source_row or cell["target"] not in target_column:
            raise MetricError(
                f"{cell['source']!r} -> {cell['target']!r} is not in the matrix",
                where=where,
                fix="remove the factors file, or make the matrix again",
            )
        i, j = source_row[cell["source"]], target_column[cell["target"]]
        for name in columns:
            parts[name][i, j] = _number(cell[name], where, name) if cell[name] else np.nan
    if not np.array_equal(parts["score"], matrix.values, equal_nan=True):
        raise MetricError(
            "scores differ from those of the matrix beside it",
            where=str(path),
            fix="remove the factors file, or make the matrix again",
        )
    return TransferMatrix(
        matrix.sources,
        matrix.targets,
        matrix.values,
        factors={name: parts[name] for name in names},
        errors={name: parts[f"{name}_error"] for name in names if not np.isnan(parts[f"{name}_error"]).all()},
        log_error=_known(parts["log_error"]),
        next_error=_known(parts["next_error"]),
    )


def _known(part: NDArray[np.float64]) -> NDArray[np.float64] | None:
    return None if np.isnan(part).all() else part


def _rows(path: str | os.PathLike[str]) -> list[tuple[int, list[str]]]:
    """Rows that are not blank, with their line numbers."""
    try:
        text = Path(path).read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not UTF-8 text"
        raise MetricError(f"cannot be read ({reason})", where=str(path), fix="give a CSV file of scores") from error
    reader = csv.reader(io.StringIO(text, newline=""))
    try:
        rows = [(reader.line_num, row) for row in reader if any(cell.strip() for cell in row)]
    except csv.Error as error:
        raise MetricError(f"not CSV ({error})", where=f"{path} row {reader.line_num}", fix="correct the row") from error
    if not rows:
        raise MetricError("is empty", where=str(path), fix="give a CSV file of scores")
    return rows


def _number(text: str, where: str, column: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.inf
    if math.isinf(value):
        raise MetricError(
            f"{text!r} is not a finite number", where=f"{where}, column {column!r}", fix="correct the cell"
        )
    return value


def _csv(lines: list[list[str]]) -> str:
    stream = io.StringIO()
    csv.writer(stream, lineterminator="\n").writerows(lines)
    return stream.getvalue()
