"""Score matrices as CSV: the matrix itself, and its factors in a second file beside it.

`TransferMatrix.to_csv` and `from_csv` call it. It knows names and arrays, and nothing of what the factors mean.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
import math
import os
import re
from collections.abc import Collection, Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dataprophet import files
from dataprophet.errors import MetricError, require

CORNER = "source\\target"
TOKENS = "answer_tokens"  # of a source's samples, in the mean; a column that older files lack
_FORMULA = re.compile(r"'*[=+\-@\t\r]")  # what spreadsheets take for one, and what is such a cell escaped
_AGAIN = "remove the factors file, or make the matrix again"


def factors_path(path: str | os.PathLike[str]) -> Path:
    """Path of the factors file of a matrix file: ``scores.csv`` -> ``scores.factors.csv``."""
    return Path(path).with_suffix(".factors.csv")


def check_replaced(path: str | os.PathLike[str]) -> None:
    """See whether a matrix may be written, before it is made: only matrices, and their factors, are replaced.

    Raises:
        DataProphetError: as ``files.check_replaced``, or for a name whose factors file would be that of another matrix.
    """
    final, beside = Path(path), factors_path(path)
    files.check_replaced(path, "matrix", partial(_begins, CORNER))
    files.check_replaced(beside, "factors file of a matrix", partial(_begins, "target,rank,source,"))
    usual = final.with_suffix(".csv")
    others = beside.exists() and (not final.exists() or (usual != final and usual.exists()))
    what, fix = f"its factors file would be {beside.name}, which is that of another matrix", "choose another name"
    require(not others, what, str(path), fix, MetricError)


def digests(path: str | os.PathLike[str]) -> dict[str, str]:
    """Hex digests of the cells of a matrix and of its factors file, if there is one: ``matrix`` and ``factors``."""
    files_of = {"matrix": Path(path), "factors": factors_path(path)}
    cells = {name: read_cells(file) for name, file in files_of.items() if name == "matrix" or file.is_file()}
    texts = {name: json.dumps([head, *(row for _, row in rows)]) for name, (head, rows) in cells.items()}
    return {name: hashlib.blake2b(text.encode(), digest_size=16).hexdigest() for name, text in texts.items()}


def _begins(text: str, path: Path) -> bool:
    with path.open("rb") as stream:
        return stream.read(100).decode("utf-8-sig", "replace").lower().startswith(text)


def write(path: str | os.PathLike[str], lines: Iterable[Sequence[object]] | None) -> None:
    """Write a file of these cells, or remove it where there are none. Floats are in full, so that they read back."""
    if lines is None:
        Path(path).unlink(missing_ok=True)
        return
    stream = io.StringIO()
    csv.writer(stream, lineterminator="\n").writerows([_quoted(cell) for cell in line] for line in lines)
    files.write_text(path, stream.getvalue())


def _quoted(cell: object) -> object:
    """A cell that a spreadsheet takes for text: a name that begins as a formula does gets an apostrophe before it."""
    return f"'{cell}" if isinstance(cell, str) and _FORMULA.match(cell) else cell


def _unquoted(cell: str) -> str:
    """The cell that ``write`` was given."""
    return cell[1:] if cell.startswith("'") and _FORMULA.match(cell[1:]) else cell


def read(path: str | os.PathLike[str], factors: Collection[str]) -> dict[str, Any]:
    """Read a matrix and its factors file, if there is one.

    Args:
        path: of the matrix.
        factors: names of columns of the factors file that are factors.

    Returns:
        The arguments of a `TransferMatrix`.
    """
    head, rows = read_cells(path)
    if head[0].strip().lower() != CORNER:
        raise MetricError(f"the corner is {head[0]!r}", where=f"{path} row 1", fix=f"write {CORNER} there")
    if len(head) < 2 or not rows:
        raise MetricError("holds no scores", where=str(path), fix="give a row per source and a column per target")
    targets, sources = [name.strip() for name in head[1:]], [row[0].strip() for _, row in rows]
    places = [f"{path} row 1"] * len(targets) + [where for where, _ in rows]
    for where, name in zip(places, targets + sources, strict=True):
        if not name:
            raise MetricError("a name is empty", where=where, fix="name every source and target")
    values = np.array(
        [[_number(text, where, name) for text, name in zip(row[1:], targets, strict=True)] for where, row in rows]
    )
    read = {"sources": sources, "targets": targets, "values": values}
    beside = factors_path(path)
    return {**read, **_factors(beside, sources, targets, values, factors)} if beside.is_file() else read


def _factors(
    path: Path, sources: list[str], targets: list[str], values: NDArray[np.float64], factors: Collection[str]
) -> dict[str, Any]:
    head, rows = read_cells(path)
    names = [name for name in head if name in factors or f"{name}_error" in head]  # ours, and those of packages
    columns = ["score", "log_error", "next_error", *names, *(f"{name}_error" for name in names)]
    columns += [TOKENS] * (TOKENS in head)
    if missing := [name for name in ("target", "source", *columns) if name not in head]:
        raise MetricError(f"column {missing[0]!r} is missing", where=f"{path} row 1", fix="make the matrix again")
    parts = {name: np.full(values.shape, np.nan) for name in columns}
    places = {(source, target): (i, j) for i, source in enumerate(sources) for j, target in enumerate(targets)}
    for where, row in rows:
        cell = dict(zip(head, row, strict=True))
        if (place := places.get((cell["source"], cell["target"]))) is None:
            what = f"{cell['source']!r} -> {cell['target']!r} is not in the matrix"
            raise MetricError(what, where=where, fix=_AGAIN)
        for name in columns:
            parts[name][place] = _number(cell[name], where, name) if cell[name] else np.nan
    if not np.array_equal(parts["score"], values, equal_nan=True):
        raise MetricError("scores differ from those of the matrix beside it", where=str(path), fix=_AGAIN)
    known = {name: part for name, part in parts.items() if not np.isnan(part).all()}
    errors = {name: known[f"{name}_error"] for name in names if f"{name}_error" in known}
    of_scores = {name: known.get(name) for name in ("log_error", "next_error")}
    if TOKENS in known:
        of_scores[TOKENS] = known[TOKENS][:, 0]
    return {"factors": {name: parts[name] for name in names}, "errors": errors, **of_scores}


def read_cells(path: str | os.PathLike[str]) -> tuple[list[str], list[tuple[str, list[str]]]]:
    """The first row of a CSV file, and the others, as long as it, each with its place; blank ones are passed over."""
    try:
        text = Path(path).read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not UTF-8 text"
        raise MetricError(f"cannot be read ({reason})", where=str(path), fix="give a CSV file of scores") from error
    reader = csv.reader(io.StringIO(text, newline=""))
    try:
        filled = (row for row in reader if any(cell.strip() for cell in row))
        rows = [(f"{path} row {reader.line_num}", [_unquoted(cell) for cell in row]) for row in filled]
    except csv.Error as error:
        raise MetricError(f"not CSV ({error})", where=f"{path} row {reader.line_num}", fix="correct the row") from error
    if not rows:
        raise MetricError("is empty", where=str(path), fix="give a CSV file of scores")
    (_, head), *others = rows
    for where, row in others:
        if len(row) != len(head):
            fix = "fill or remove the row, or make the matrix again"
            raise MetricError(f"{len(row)} cells, expected {len(head)}", where=where, fix=fix)
    return head, others


def _number(text: str, where: str, column: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.inf
    if math.isinf(value):
        what = f"{text!r} is not a finite number"
        raise MetricError(what, where=f"{where}, column {column!r}", fix="correct the cell")
    return value
