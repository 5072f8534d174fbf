"""Scored folders with scores of the test's own choosing: the data, the configuration, the shards and the markers that
scoring writes, without a model."""

from __future__ import annotations

import json
from pathlib import Path
from unittest import mock

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from sample_files import BLUE, GREEN, RED

from dataprophet import Features, Profile, open_dataset
from dataprophet.data.index import CELL_ROWS
from dataprophet.data.sample import Problem
from dataprophet.features.features import measure
from dataprophet.scoring.embeddings import unit_embeddings, write_embeddings
from dataprophet.scoring.folder.config import RunConfig
from dataprophet.scoring.folder.files import FILES, RUN, index_name, target_name
from dataprophet.scoring.folder.pool import plan_of
from dataprophet.scoring.folder.rows import Lines, schema
from dataprophet.selection import Settings, select_pool
from dataprophet.store import open_store
from dataprophet.store.checksums import parse_document

IMAGES = {"red.png": RED, "green.png": GREEN, "blue.png": BLUE}


def row(name, *, turns=1, image=None):
    """A LLaVA row; ``image`` is a file of ``IMAGES`` or another name that the test makes."""
    talk = []
    for turn in range(turns):
        marker = "<image>\n" if image and not turn else ""
        talk += [
            {"from": "human", "value": f"{marker}{name} question {turn}"},
            {"from": "gpt", "value": f"{name} answer {turn}"},
        ]
    return {"id": name, **({"image": image} if image else {}), "conversations": talk}


def _no_sync(file):
    """No machine stops in these tests, and the disk would take longer than all the rest."""


def write_pool(folder, files):
    """Data files of LLaVA rows, file name -> rows, and the images."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, data in IMAGES.items():
        (folder / name).write_bytes(data)
    for name, rows in files.items():
        (folder / name).write_text("".join(json.dumps(entry) + "\n" for entry in rows))
    return folder


@mock.patch("os.fsync", _no_sync)
def write_scores(
    out, pool, scores, *, name="pool", targets=("t",), nearest=None, vectors=None, cells=8, profiles=None, numbers=None
):
    """A scored folder.

    Args:
        out: the folder.
        pool: the folder of the data.
        scores: (file name, position, turn) -> one M for each target, NaN for none.
        name: the pool's name.
        targets: names of the targets.
        nearest: as ``scores``, the largest cosine to each target; None leaves the columns out.
        vectors: as ``scores``, the question's embedding; None keeps no embeddings.
        cells: cells of a shard.
        profiles: of the targets, when they are used.
        numbers: as ``scores``, a row's answer tokens and mean nll; 4 and 1.5 without.
    """
    store, dataset = open_store(out), open_dataset(pool)
    profiles = profiles or [_profile(target) for target in targets]
    config = RunConfig(
        name=name,
        kind="samples",
        pool=dict(dataset.arguments),
        model={},
        fingerprint="f",
        settings={},
        numbers={},
        reading=dataset.settings,
        targets=[{"name": profile.name, "fingerprint": profile.digest()} for profile in profiles],
        fields=["question"],
        sketch={"clusters": "2", "sketch_size": "100", "diversity_fields": "question", "seed": "0"},
        embeddings=vectors is not None,
        nearest=nearest is not None,
        shard_cells=cells,
    )
    store.create_once(RUN, config.to_json())
    indices = [dataset.index(number) for number in range(len(dataset.files))]
    files = [{"name": index.name, "path": index.path, "digest": index.digest, "rows": index.rows} for index in indices]
    store.write_document(FILES, {"files": files})
    for index in indices:
        store.write_document(index_name(index.name), {"index": index.to_json()})
    for profile, target in zip(profiles, config.targets, strict=True):
        path = Path(out) / target_name(target["fingerprint"])
        path.parent.mkdir(exist_ok=True)
        profile.save(path)
    for shard in plan_of(files, config):
        entries = [entry for cell in dataset.read_cells(indices[shard.file], shard.first, shard.last) for entry in cell]
        _commit(store, shard, entries, config, scores, nearest, vectors, numbers or {})
    return out


def _commit(store, shard, entries, config, scores, nearest, vectors, numbers):
    names = [target["name"] for target in config.targets]
    lines = Lines.of(entries, shard.first * CELL_ROWS)
    columns = lines.columns(shard.name)
    keys = [(shard.name, line.position, line.turn) for line in lines.lines]
    bad = [entry for entry in entries if isinstance(entry, Problem)]

    def values(source, number):
        given = np.array([source.get(key, [np.nan] * len(names))[number] for key in keys], np.float32)
        return pa.array(given, mask=np.isnan(given))

    made = {
        "id": columns.id,
        "file": pa.array([shard.name] * len(keys)).dictionary_encode(),
        "position": columns.position,
        "row": columns.row,
        "turn": columns.turn,
        "status": columns.status.dictionary_encode(),
        "detail": columns.detail,
        "answer_tokens": np.array([numbers.get(key, (4, 1.5))[0] for key in keys], np.int32),
        "mean_nll": np.array([numbers.get(key, (4, 1.5))[1] for key in keys], np.float32),
    }
    for number, name in enumerate(names):
        for factor in ("QSim", "ASim", "ISim"):
            made[f"{factor}:{name}"] = pa.array([0.5] * len(keys), pa.float32())
        made[f"M:{name}"] = values(scores, number)
        if nearest is not None:
            made[f"Nearest:{name}"] = values(nearest, number)
    table = pa.table(made, schema=schema(names, nearest=nearest is not None))
    parts = {"rows.parquet": lambda path: pq.write_table(table, path)}
    if vectors is not None:
        kept = [place for place, key in enumerate(keys) if key in vectors]
        rows = np.array([vectors[keys[place]] for place in kept], np.float32).reshape(len(kept), -1)
        features = Features([str(place) for place in kept], np.zeros(len(kept)), {"question": rows})
        embeddings = unit_embeddings(measure(features, "pool"), np.array(kept, np.int64))
        parts["embeddings.safetensors"] = lambda path: write_embeddings(path, [embeddings])
    statuses = {"ok": len(keys) - len(bad), **({bad[0].code: len(bad)} if bad else {})}
    unscored = {name: int(made[f"M:{name}"].null_count) - len(bad) for name in names}
    marker = {"rows": shard.rows, "samples": len(lines.samples), "statuses": statuses, "unscored": unscored}
    assert store.commit(shard.key, parts, marker)


def _profile(name):
    """A target of three samples whose questions lie along the axes."""
    profile = Profile.empty(name, "f", clusters=2, sketch_size=100, diversity_fields=["question"])
    profile.update(Features(["1", "2", "3"], np.ones(3), {"question": np.eye(3, dtype=np.float32)}))
    return profile


def forget_checksums(scores):
    """Have a scored folder be as an earlier version wrote it, without checksums of the parts of shards."""
    for path in (scores / "commits").iterdir():
        marker = parse_document(path.read_bytes())
        del marker["checksums"]
        path.write_text(json.dumps(marker))


TWO_FILES = {f"{name}.jsonl": [row(f"{name}{i}", image="red.png") for i in range(4)] for name in "bc"}
TWO_SCORES = {(file, i, 1): [1.0 + i] for file in TWO_FILES for i in range(4)}


def scored(folder, name="pool", **options):
    """A scored pool of two files of four rows, for the target t; ``options`` as of ``write_scores``."""
    pool = write_pool(folder / f"data-{name}", TWO_FILES)
    return write_scores(folder / f"scores-{name}", pool, TWO_SCORES, name=name, **options)


def choose(scores, out, **options):
    """The best five of the rows for t; ``options`` as of ``select_pool``."""
    return select_pool(scores, Settings(["t"], 5), out, format="swift", **options)
