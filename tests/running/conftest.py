"""The command line in this process, for all tests of runs."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from dataprophet.cli import main


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    """Words of a command -> its status, and what it printed on both streams."""

    def call(*words: object) -> tuple[int, str, str]:
        status = main([str(word) for word in words])
        out, err = capsys.readouterr()
        return status, out, err

    return call
