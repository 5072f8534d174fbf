"""What a terminal shows, and what everything else is given: tables, colours, progress."""

from __future__ import annotations

import os
import re
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from rich.cells import cell_len

from dataprophet.cli import main
from dataprophet.cli.common import table, tell
from dataprophet.cli.progress import Progress
from dataprophet.cli.terminal import terminal_table

HEAD = ["source\\target", "count-bench", "a-benchmark-of-a-long-name", "x"]
ROWS = [["captions of the long afternoon", "1.041", "0.9173", "-"], ["图表问答", "0.5158", "12.50", "0.7233"]]
ESCAPE = re.compile(r"\x1b\[[0-9;]*[mK]")


def read_until(end: str, read: Callable[[], str], seen: str = "") -> str:
    """All that is read, up to a text that ends so: a terminal hands it on in pieces."""
    latest = time.monotonic() + 30
    while not seen.endswith(end) or not seen:
        assert time.monotonic() < latest, seen
        time.sleep(0.02)
        seen += read()
    return seen


@pytest.fixture
def screen(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[], str]]:
    """Puts standard output and error on a terminal of 100 columns; called again, returns what that was sent."""
    there, here = os.openpty()
    with os.fdopen(here, "w", buffering=1, encoding="utf-8") as stream:
        for name, value in {"TERM": "xterm-256color", "COLUMNS": "100"}.items():
            monkeypatch.setenv(name, value)
        for name in ("NO_COLOR", "COLORTERM"):
            monkeypatch.delenv(name, raising=False)
        os.set_blocking(there, False)

        def sent() -> str:
            for name in ("stdout", "stderr"):  # pytest has its own while fixtures are made
                monkeypatch.setattr(sys, name, stream)
            stream.flush()
            try:
                return os.read(there, 1 << 16).decode()
            except BlockingIOError:
                return ""

        yield sent
    os.close(there)


@pytest.fixture
def scores(tmp_path: Path) -> str:
    path = tmp_path / "scores.csv"
    path.write_text("source\\target,t,u\na,4,1\nb,1,2\nc,2,4\n")
    return str(path)


@pytest.mark.parametrize("width", [200, 80, 60, 44, 30])
def test_a_table_keeps_to_the_width(width: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    monkeypatch.setenv("NO_COLOR", "1")
    shown = terminal_table(HEAD, ROWS)
    assert "\x1b" not in shown
    assert max(map(cell_len, shown.splitlines())) <= width
    for row in ROWS:
        for number in row[1:]:
            assert number in shown  # only names and heads are cut
    assert ("captions of the long afternoon" in shown) == (width >= 80)
    assert ("\n\n" in shown) == (width < 60)  # goes on below
    for part in shown.split("\n\n"):
        lines = part.splitlines()
        assert len(lines) == 3
        assert lines[2].startswith("图表问答")


def test_numbers_stand_below_each_other(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "120")
    monkeypatch.setenv("NO_COLOR", "1")
    first, *others = terminal_table(HEAD, ROWS).splitlines()
    ends = [first.index(name) + len(name) for name in HEAD[1:]]
    wide = 2 * len("图表问答") - len("图表问答")  # cells that its letters take beside one each
    assert [others[0].index(cell) + len(cell) for cell in ROWS[0][1:3]] == ends[:2]
    assert [others[1].index(cell) + len(cell) + wide for cell in ROWS[1][1:]] == ends


def test_a_ranking_is_coloured_on_a_terminal_alone(
    scores: str, screen: Callable[[], str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    screen()
    words = ["rank", scores, "--target", "t"]
    assert main(words) == 0
    coloured = read_until("is left out\r\n", screen)
    assert len(re.findall(r"\x1b\[[^m]*48;5;", coloured)) == 3  # a ground for each score
    monkeypatch.setenv("NO_COLOR", "1")
    assert main(words) == 0
    plain = read_until("is left out\r\n", screen)
    assert plain == re.sub(r" +\r", "\r", ESCAPE.sub("", coloured))
    monkeypatch.setattr(sys, "stdout", (tmp_path / "piped").open("w", encoding="utf-8"))
    monkeypatch.delenv("NO_COLOR")
    assert main(words) == 0
    sys.stdout.close()
    assert (tmp_path / "piped").read_text() == plain.replace("\r\n", "\n")


def test_a_matrix_is_coloured_within_each_target(screen: Callable[[], str]) -> None:
    screen()
    values = [[4.0, 10.0], [1.0, 20.0], [2.0, 40.0], [float("nan"), 10.0]]
    shown = table(["", "t", "u"], [["abcd"[i], *map(str, row)] for i, row in enumerate(values)], values)
    grounds = [re.findall(r"48;5;(\d+)m", line) for line in shown.splitlines()[1:]]
    (best, low), (low_t, middle), (middle_t, best_u), without = grounds
    assert best == best_u  # 4 among 1 to 4 as 40 among 10 to 40
    assert middle == middle_t
    assert low == low_t == without[-1]
    assert len(without) == 1
    assert len({best, middle, low}) == 3


def test_progress_on_a_terminal_is_one_line_that_goes(screen: Callable[[], str]) -> None:
    seen = screen()
    with Progress("rows") as progress:
        progress.of(1000, 4000)  # as many were done before
        progress.of(1600, 4000)
        while "left" not in seen:
            seen += screen()
            time.sleep(0.05)
        tell("a word beside it")
    print("over")
    seen = read_until("\r\x1b[Kover\r\n", screen, seen)
    assert re.search(r"\r\x1b\[Krows: 1,600 of 4,000, [\d,]+/s, \d+ s left", seen)
    assert "\r\x1b[Kdataprophet: a word beside it\r\n" in seen


def test_progress_of_what_is_estimated_or_not_known() -> None:
    rows = Progress("rows", lambda: 12_000)
    assert rows.line() == "rows: 0 of about 12,000, 0 s so far"
    rows(12_001)
    assert re.fullmatch(r"rows: 12,001, [\d,]+/s", rows.line())  # the estimate was too low
    assert Progress("rows", lambda: 0).line() == "rows: 0, 0 s so far"


def test_progress_is_quiet_where_no_terminal_is(capsys: pytest.CaptureFixture[str], scores: str) -> None:
    with Progress("rows", 9) as progress:
        progress(3)
        time.sleep(1.3)
    assert capsys.readouterr() == ("", "")


def test_long_runs_leave_lines_in_logs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dataprophet.cli.progress._LOGGED", 0.05)  # of half a minute
    with (tmp_path / "log").open("w", encoding="utf-8") as log:
        monkeypatch.setattr(sys, "stderr", log)
        with Progress("rows", 9) as progress:
            progress(3)
            while len(lines := (tmp_path / "log").read_text().splitlines()) < 2:
                time.sleep(0.05)
    assert all(line.startswith("dataprophet: rows: 3 of 9, ") for line in lines)
