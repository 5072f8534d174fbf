"""A generator in a thread of its own: order, errors where they arise, and an end wherever one stops."""

import threading
import time

import pytest

from dataprophet.model.prefetch import Workers, ahead


class Source:
    """Counts up; raises at one place; remembers how far it was asked and whether it was closed."""

    def __init__(self, stop: int, fails_at: int = -1) -> None:
        self.made, self.closed, self.thread = 0, False, None
        self.stop, self.fails_at = stop, fails_at

    def __call__(self):
        try:
            for index in range(self.stop):
                if index == self.fails_at:
                    raise ValueError(f"item {index}")
                self.made = index + 1
                self.thread = threading.current_thread()
                yield index
        finally:
            self.closed = True


depths = pytest.mark.parametrize("depth", [0, 1, 3])


@depths
def test_order_and_thread(depth):
    source = Source(20)
    with ahead(source(), depth) as items:
        assert list(items) == list(range(20))
    assert source.closed
    assert (source.thread is threading.current_thread()) == (depth == 0)


@depths
def test_no_further_ahead_than_asked(depth):
    source = Source(50)
    with ahead(source(), depth) as items:
        for taken in range(1, 5):
            next(items)
            time.sleep(0.05)
            assert source.made == taken + depth


@depths
def test_an_error_comes_where_its_item_would(depth):
    source, seen = Source(9, fails_at=4), []
    with ahead(source(), depth) as items:
        seen += [next(items) for _ in range(4)]
        with pytest.raises(ValueError, match="item 4"):
            next(items)
    assert seen == [0, 1, 2, 3]
    assert source.closed


@depths
def test_leaving_early_closes_the_source_and_its_thread(depth):
    source, threads = Source(1000), threading.active_count()
    with ahead(source(), depth) as items:
        assert next(items) == 0
    assert source.closed
    assert source.made < 10
    assert threading.active_count() == threads


@pytest.mark.parametrize("workers", [0, 3])
def test_a_pool_gives_results_and_errors(workers):
    def halved(value):
        return value // 0 if value == 2 else value / 2

    with Workers(workers) as threads:
        futures = [threads.submit(halved, value) for value in range(4)]
        assert [futures[index].result() for index in (0, 1, 3)] == [0, 0.5, 1.5]
        with pytest.raises(ZeroDivisionError):
            futures[2].result()
