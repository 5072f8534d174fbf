"""The best of many scores in Parquet files, ties by id: ours, NumPy, pyarrow, DuckDB and Polars.

The files hold 20 million scores and are read again and again until as many scores as the task names have passed, so
every score occurs as often; which reading it was breaks ties behind the id. The files stay in the page cache.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

os.environ["POLARS_MAX_THREADS"] = "1"  # read when polars is imported

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from harness import Bench, Way, at_most, faster, optional, options

from dataprophet.selection.top_k import top_rows

GROUP = 1 << 20


def main() -> None:
    args = options(__doc__)
    bench = Bench("topk", args, rounds=1)
    pa.set_cpu_count(1)
    with tempfile.TemporaryDirectory() as folder:
        distinct = 400_000 if args.quick else 20_000_000
        files = write(Path(folder), distinct, 4)
        total = 5 * distinct
        ours = Way("ours", lambda: best(files, 5, total // 100))
        task(
            bench,
            [ours, *peers(files, 5, total // 100)],
            total,
            [faster("at least 5x DuckDB and Polars", 5, "Du", "Po")],
        )
        repeats = 10 if args.quick else 50
        total = repeats * distinct
        large = Way("ours", lambda: best(files, repeats, total // 100))
        task(
            bench,
            [large],
            total,
            [
                at_most("1e7 of 1e9 in at most 120 s on one core", 120, lambda rows: rows["ours"]["cpu_ms"] / 1e3),
                at_most("in at most 2,000 MB", 2_000, lambda rows: rows["ours"]["extra_mb"]),
            ]
            if not args.quick
            else [],
        )
    bench.write()


def task(bench, ways, total, targets):
    title = f"the best {total // 100:,} of {total:,} scores, float32, from Parquet"
    bench.task(title, ways, targets=targets, counts=[1], items=total, memory=not bench.quick)


def write(folder, count, parts):
    """Files of scores with ids in no order of the scores."""
    rng = np.random.default_rng(0)
    files = []
    for part in range(parts):
        rows = count // parts
        scores = rng.gamma(2.0, 0.5, rows).astype(np.float32)
        ids = pa.array(np.char.add("sample-", rng.permutation(rows).astype("U8")))
        files.append(folder / f"{part}.parquet")
        pq.write_table(pa.table({"score": scores, "id": ids}), files[-1], row_group_size=GROUP, compression="zstd")
    return files


def best(files, repeats, k):
    """The k best rows, counted through all readings."""
    groups = [(file, group) for file in files for group in range(pq.ParquetFile(file).num_row_groups)]

    def chunks():
        for _ in range(repeats):
            for file in files:
                with pq.ParquetFile(file) as source:
                    for group in range(source.num_row_groups):
                        yield source.read_row_group(group, ["score"], use_threads=False)["score"].to_numpy()

    def keys(number, rows):
        file, group = groups[number % len(groups)]
        with pq.ParquetFile(file) as source:
            ids = source.read_row_group(group, ["id"], use_threads=False)["id"].combine_chunks()
        return pa.table({"id": ids.take(pa.array(rows)), "reading": np.full(len(rows), number // len(groups))})

    return top_rows(chunks, k, keys)


def peers(files, repeats, k):
    """Others, as far as they are installed. All but NumPy and pyarrow break ties by id."""

    def scores():
        return np.concatenate([pq.read_table(file, columns=["score"])["score"].to_numpy() for file in files * repeats])

    def table():
        return pa.concat_tables([pq.read_table(file, columns=["score"], use_threads=False) for file in files * repeats])

    import pyarrow.compute as pc

    names = [str(file) for file in files * repeats]
    ways = [
        Way("numpy, argpartition of all", lambda: np.argpartition(scores(), -k)[-k:]),
        Way("pyarrow, select_k_unstable", lambda: pc.select_k_unstable(table(), k, [("score", "descending")])),
    ]
    duckdb, polars = optional("duckdb"), optional("polars")
    if duckdb:

        def query():
            with duckdb.connect(config={"threads": 1}) as connection:
                query = "select score, id from read_parquet($1) order by score desc, id limit $2"
                return connection.sql(query, params=[names, k]).to_arrow_table()

        ways.append(Way("DuckDB, order by ... limit", query))
    if polars:
        frames = [polars.scan_parquet(name) for name in names]
        ranked = polars.concat(frames).top_k(k, by=["score", "id"], reverse=[False, True])
        ways.append(Way("Polars, streaming top_k", lambda: ranked.collect(engine="streaming")))
    return ways


if __name__ == "__main__":
    main()
