"""A digest of rows that depends on their values alone, not on how files and batches divide them."""

from __future__ import annotations

import hashlib

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray


class RowsDigest:
    """SHA-256 over a stream of record batches: one for the values of each column, and one for which are null."""

    def __init__(self) -> None:
        self._columns: dict[str, hashlib._Hash] = {}

    def update(self, batch: pa.RecordBatch) -> None:
        """Add rows."""
        for name, column in zip(batch.schema.names, batch.columns, strict=True):
            plain = column.dictionary_decode() if pa.types.is_dictionary(column.type) else column
            valid = plain.is_valid().to_numpy(zero_copy_only=False)
            self._columns.setdefault(f"{name} valid", hashlib.sha256()).update(valid.astype(np.uint8).tobytes())
            self._columns.setdefault(f"{name} values", hashlib.sha256()).update(_bytes(plain))

    def hexdigest(self) -> str:
        """Hex digest of all columns in order of their names."""
        total = hashlib.sha256()
        for name, found in sorted(self._columns.items()):
            total.update(f"{name}\0{found.hexdigest()}\n".encode())
        return total.hexdigest()


def _bytes(column: pa.Array) -> bytes:
    """The values of a column as bytes whose concatenation over batches does not depend on where batches end."""
    if pa.types.is_string(column.type):
        text = column.fill_null("")
        lengths = pc.binary_length(text).to_pylist()
        return "".join(f"{length}:{value}" for length, value in zip(lengths, text.to_pylist(), strict=True)).encode()
    values: NDArray[np.generic] = column.fill_null(0).to_numpy(zero_copy_only=False)
    return values.tobytes()
