"""WebDataset: tar shards whose members share a key, ``000.jpg``, ``000.json``, ``000.txt``; see ``files.tar``."""

from __future__ import annotations

from dataprophet.data.files.rows import Row
from dataprophet.data.formats.base import Format, Parsed
from dataprophet.data.formats.finevision import FINEVISION
from dataprophet.data.formats.llava import LLAVA
from dataprophet.data.formats.swift import SWIFT
from dataprophet.data.formats.vqa import VQA

_SHAPES = {"conversations": LLAVA, "messages": SWIFT, "query": SWIFT, "texts": FINEVISION}


def _parse(row: Row) -> Parsed:
    """One key, by the shape of its JSON member: conversations, messages, texts, or columns."""
    return _shape(row).parse(row)


def _shape(row: Row) -> Format:
    return next((shape for name, shape in _SHAPES.items() if row.get(name) is not None), VQA)


def _options(row: Row) -> tuple[list[str], str]:
    return ([], "") if (options := _shape(row).options) is None else options(row)


_LOOKS = "WebDataset tar shards: images with .json or .txt"
WEBDATASET = Format(_LOOKS, _parse, lambda row, suffix: "" if suffix == ".tar" else "not a .tar", options=_options)
