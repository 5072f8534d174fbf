"""A digest of rows that depends on their values alone, not on how files and batches divide them."""

from __future__ import annotations

import hashlib

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray


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
