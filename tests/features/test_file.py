"""Features from files give the profile that features in memory give, and bad files are named."""

from __future__ import annotations

import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from safetensors.numpy import save_file
from sample_features import make_features

from dataprophet.cli import main
from dataprophet.errors import DataProphetError, ProfileError
from dataprophet.features.file import load_features
from dataprophet.profiling.build import profile


@pytest.mark.parametrize("suffix", [".npz", ".safetensors", ".parquet"])
def test_features_from_files(tmp_path, suffix: str) -> None:  # type: ignore[no-untyped-def]
    features = make_features(25, text_only=0.2)
    path = tmp_path / f"f{suffix}"
    columns = {"nll": features.nll, "n_tokens": features.n_tokens, "image_present": features.present["image"]}
    if suffix == ".npz":
        np.savez(path, id=np.array(features.ids), **columns, **features.embeddings)
    elif suffix == ".safetensors":
        save_file({**columns, **features.embeddings}, path, {"id": json.dumps(features.ids)})
    else:
        import pyarrow as pa
        import pyarrow.parquet as pq

        vectors = {name: list(part) for name, part in features.embeddings.items()}
        pq.write_table(pa.table({"id": features.ids, **columns, **vectors}), path)
    assert profile(load_features(path), "m", name="x") == profile(features, "m", name="x")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c.pop("nll"), "column 'nll' is missing"),
        (lambda c: c.update(id=np.array(["a"] * 5)), "id 'a' occurs twice"),
        (lambda c: c.update(ids=c.pop("id")), "unknown column 'ids'; rename or remove it; known are id, nll"),
        (lambda c: c.update(id=np.array(["a"])), "1 ids and 5 rows"),
        (lambda c: c.update(id=np.arange(5.0)), "column 'id' holds float; store ids as text or whole numbers"),
        (lambda c: c.update(id=np.array(list("abcde"), "S")), "column 'id' holds bytes"),
        (lambda c: c.update(question=np.ones(5)), r"column 'question' is float64 \(5,\)"),
        (lambda c: c.update(nll=np.array(list("abcde"))), "column 'nll' is"),
    ],
)
def test_bad_feature_files(tmp_path, change, message: str) -> None:  # type: ignore[no-untyped-def]
    columns = {"id": np.array(list("abcde")), "nll": np.ones(5), "question": np.ones((5, 3))}
    change(columns)
    np.savez(tmp_path / "f.npz", **columns)
    with pytest.raises(ProfileError, match=message) as caught:
        load_features(tmp_path / "f.npz")
    assert "f.npz" in str(caught.value)


def test_feature_file_of_another_kind(tmp_path) -> None:  # type: ignore[no-untyped-def]
    for name in ("f.txt", "absent.npz"):
        with pytest.raises(DataProphetError, match=name.replace(".", r"\.")):
            load_features(tmp_path / name)
    (tmp_path / "f.npz").write_bytes(b"nothing")
    with pytest.raises(ProfileError, match="cannot be read"):
        load_features(tmp_path / "f.npz")


@pytest.mark.parametrize(
    ("column", "message"),
    [
        ({"n_tokens": pa.array([1, None])}, "n_tokens is not one count"),
        ({"n_tokens": pa.array([1.5, 2.0])}, "n_tokens is not one count"),
        ({"question_present": pa.array(["False", "True"])}, "store true or false"),
        ({"question_present": pa.array([True, None])}, "store true or false"),
        ({"question_present": pa.array([1, 2])}, "is int64, and not 0 or 1; store true or false"),
        ({"id": pa.array(["a", None])}, "none null"),
        ({"id": pa.array([{"x": 1}, {"x": 2}])}, "column 'id' holds dict"),
        ({"id": pa.array([b"a", b"b"])}, "column 'id' holds bytes"),
    ],
)
def test_nulls_and_text_are_not_taken_for_values(tmp_path, column, message: str) -> None:  # type: ignore[no-untyped-def]
    table = {"nll": [1.0, 2.0], "question": [[1.0, 2.0], [3.0, 4.0]], **column}
    pq.write_table(pa.table(table), tmp_path / "f.parquet")
    with pytest.raises(ProfileError, match=message):
        load_features(tmp_path / "f.parquet")


@pytest.mark.parametrize("suffix", [".npz", ".safetensors", ".parquet"])
def test_log_likelihoods_with_the_wrong_sign(tmp_path, suffix: str, capsys) -> None:  # type: ignore[no-untyped-def]
    """Refused by every command that reads them, with the row; what rounding leaves below 0 is not."""
    features = make_features(40)
    path, columns = tmp_path / f"f{suffix}", {"nll": features.nll, **features.embeddings}

    def write(place: int, value: float) -> None:
        columns["nll"] = features.nll.copy()
        columns["nll"][place] = value
        if suffix == ".npz":
            np.savez(path, **columns)
        elif suffix == ".safetensors":
            save_file(columns, path)
        else:
            pq.write_table(pa.table({name: list(part) for name, part in columns.items()}), path)

    for place in (0, 23):
        write(place, -1.25)
        message = rf"f\{suffix} row {place + 1}: nll is -1.25, below 0, in 1 of \d+ samples; give minus .* the sign"
        with pytest.raises(ProfileError, match=message):
            load_features(path)
        for command in ("profile", "score"):
            words = [command, str(path), "--features", "--model", "enc", "--out", str(tmp_path / f"{command}-{place}")]
            assert main(words) == 1
            told = capsys.readouterr()
            line = next(line for line in (told.err + told.out).splitlines() if "below 0" in line)
            assert f"f{suffix} row {place + 1}" in line
            assert "Traceback" not in told.err
    write(23, -1e-6)
    assert profile(load_features(path), "m").n_samples == 40


def test_numbers_that_float32_cannot_hold(tmp_path) -> None:  # type: ignore[no-untyped-def]
    np.savez(tmp_path / "f.npz", nll=np.ones(2), question=np.array([[1e300, 1.0], [1.0, 2.0]]))
    with pytest.raises(ProfileError, match="question embedding is not finite in 1 of 2 samples"):
        profile(load_features(tmp_path / "f.npz"), "m")


def test_safetensors_whose_metadata_is_none(tmp_path) -> None:  # type: ignore[no-untyped-def]
    path = tmp_path / "f.safetensors"
    save_file({"nll": np.ones(3), "question": np.ones((3, 2))}, path, {"a": "b"})
    path.write_bytes(path.read_bytes().replace(b'{"a":"b"}', b'["a","b"]'))
    with pytest.raises(ProfileError, match="__metadata__ is a list"):
        load_features(path)


def test_no_rows_in_parquet(tmp_path) -> None:  # type: ignore[no-untyped-def]
    empty = {"nll": pa.array([], pa.float64()), "question": pa.array([], pa.list_(pa.float32()))}
    pq.write_table(pa.table(empty), tmp_path / "f.parquet")
    with pytest.raises(ProfileError, match="no sample could be used"):
        profile(load_features(tmp_path / "f.parquet"), "m")
