"""Arguments of a wrong type: an error of the package on one line, which says what to give."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import dataprophet as dp
from dataprophet.errors import DataProphetError
from dataprophet.features.features import FIELDS

ROWS = [{"question": "Q", "answer": "A"}]
MATRIX = dp.TransferMatrix(["a"], ["t"], np.ones((1, 1)))
PROFILE = dp.Profile.empty("a", "m")
FEATURES = dp.Features(["a"], np.ones(1), {"question": np.ones((1, 2), np.float32)})

CALLS: dict[str, tuple[Any, str]] = {
    "open a number": (lambda: dp.open_dataset(3), "give a path, a list of dicts"),
    "columns as text": (
        lambda: dp.open_dataset(ROWS, columns="question=q"),
        "columns: it is of type str; give a dict or None",
    ),
    "a column as number": (lambda: dp.open_dataset(ROWS, columns={"question": 3}), "give the name of a column"),
    "limit as text": (lambda: dp.open_dataset(ROWS, limit="3"), "limit: it is of type str; give a whole number"),
    "limit as float": (lambda: dp.open_dataset(ROWS, limit=2.5), "limit: it is of type float"),
    "name as number": (lambda: dp.open_dataset(ROWS, name=3), "name: it is of type int"),
    "image_root as number": (lambda: dp.open_dataset(ROWS, image_root=3), "image_root: it is of type int"),
    "samples that are rows": (lambda: dp.Dataset.from_samples("x", ROWS), "open_dataset takes rows"),
    "profile a path": (lambda: dp.profile("x", "m"), "a str is not a dataset; open files"),
    "profile rows": (lambda: dp.profile(ROWS, "m"), "holds dict, not samples"),
    "profile with a number": (lambda: dp.profile([dp.Sample("a", (), "q", "a")], 3), "samples need a model"),
    "clusters as text": (lambda: dp.profile(FEATURES, "m", clusters="3"), "clusters: it is of type str"),
    "no profiles": (lambda: dp.transfer_matrix([], []), "no sources given"),
    "None for profiles": (lambda: dp.transfer_matrix(None, [PROFILE]), "sources: it is of type NoneType"),
    "a dataset for a profile": (
        lambda: dp.transfer_matrix([dp.open_dataset(ROWS)], [PROFILE]),
        "it is of type Dataset; give the path of a saved profile, or profile the dataset first",
    ),
    "fields as number": (lambda: dp.transfer_matrix([PROFILE], [PROFILE], fields=3), "fields: it is of type int"),
    "level as text": (lambda: MATRIX.rank("t", level="x"), "level: it is of type str"),
    "a target as number": (lambda: MATRIX.rank(3), "target: it is of type int; give a text"),
    "matrix of a number": (lambda: dp.TransferMatrix.from_csv(3), "path: it is of type int; give a text or a path"),
    "allocate texts": (lambda: dp.allocate(["a", "b"], 3), "expected real numbers"),
    "a budget as text": (lambda: dp.allocate([1, 2], "3"), "'3' is not a number of samples"),
    "scores of a number": (lambda: dp.open_scores(3), "folder: it is of type int; give a text or a path"),
    "score a dataset": (
        lambda: dp.score(dp.open_dataset(ROWS), [PROFILE], model="demo", out="x"),
        "pool: it is of type Dataset; give the path of the pool",
    ),
    "plan a number": (lambda: dp.plan(3), "plan: it is of type int; give datasets"),
    "plan texts": (lambda: dp.plan(["x"]), "a str is no pool; open it with open_dataset"),
    "select for a number": (
        lambda: dp.Selector(3),
        "targets: it is of type int; give a list of Profiles, texts or paths, a Profile, a text or a path",
    ),
    "names as number": (
        lambda: dp.allocate([1, 2], 3, names=3),
        "names: it is of type int; give a list of texts or None",
    ),
    "names as numbers": (lambda: dp.allocate([1], 3, names=[3]), "names: it holds a int; give a list of texts or None"),
    "fields of the diversity": (
        lambda: dp.profile(FEATURES, "m", diversity_fields=3),
        "diversity_fields: it is of type int; give a list of texts",
    ),
    "too few": (
        lambda: dp.TransferMatrix(3),
        "TransferMatrix: missing a required argument: 'targets'; its arguments are",
    ),
    "too many": (lambda: dp.kendall_tau(1, 2, "a", 3), "kendall_tau: too many positional arguments"),
    "a wrong name": (
        lambda: dp.allocate([1], 3, temprature=2),
        "allocate: got an unexpected keyword argument 'temprature'; did you mean temperature?",
    ),
    "truth for a number": (lambda: dp.plan([], rows=True), "rows: it is of type bool; give a whole number"),
    "a text for truth": (lambda: dp.load_model("demo", compile="no"), "compile: it is of type str; give true or false"),
    "a number for a model": (lambda: dp.plan([], 3), "model: it is of type int; give a Model or None"),
    "a text for a list": (lambda: MATRIX.without(3), "names: it is of type int; give a text"),
    "a model as number": (lambda: dp.load_model(3), "name: it is of type int; give a text or a Path"),
}


@pytest.mark.parametrize("case", CALLS)
def test_wrong_types_are_told_in_a_line(case: str) -> None:
    call, says = CALLS[case]
    with pytest.raises(DataProphetError) as caught:
        call()
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_single_path_is_a_target(tmp_path: Any) -> None:
    full = dp.profile(
        dp.Features(list("abcd"), np.ones(4), {name: np.ones((4, 2)) for name in FIELDS}), "m", clusters=2
    )
    full.save(tmp_path / "a.profile")
    assert dp.Selector(str(tmp_path / "a.profile")).names == ["dataset"]
