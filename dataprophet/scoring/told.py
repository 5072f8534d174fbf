"""Errors on their way from a worker process to the driver."""

from __future__ import annotations

from collections.abc import Mapping

from dataprophet import errors
from dataprophet.errors import DataProphetError


def told(error: DataProphetError) -> dict[str, str]:
    """An error as plain values."""
    return {"kind": type(error).__name__, "what": error.what, "where": error.where, "fix": error.fix}


def error_of(values: Mapping[str, str]) -> DataProphetError:
    """The error that ``told`` was given."""
    kind = getattr(errors, values["kind"], DataProphetError)
    made: DataProphetError = kind(values["what"], where=values["where"], fix=values["fix"])
    return made
