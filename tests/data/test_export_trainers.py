"""Exports read by the loaders of the trainers they are for, where these are installed."""

from __future__ import annotations

import io
import json
import os
from dataclasses import replace
from types import SimpleNamespace

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import sample_files as files
from PIL import Image

from dataprophet.data import write_rows
from dataprophet.data.export import parquet
from dataprophet.data.formats.conversation import put_markers

ROWS = files.EXPORTED
their_warnings = pytest.mark.filterwarnings("default")
"""Warnings of other packages are not ours to fix."""

ONE_IMAGE = [row for row in ROWS if len(row.sources) < 2]


def questions(row):
    return [put_markers(turn.question, turn.image_offsets) for turn in row.turns]


def answers(row):
    return [turn.answer for turn in row.turns]


def pixels(images):
    return [image.convert("RGB").tobytes() for image in images]


def expected_pixels(row):
    return [source.load().tobytes() for source in row.sources]


@their_warnings
def test_webdataset(tmp_path):
    webdataset = pytest.importorskip("webdataset", reason="webdataset is not installed")
    write_rows(ROWS, tmp_path / "out", "webdataset", name="mix")
    found = list(webdataset.WebDataset(str(tmp_path / "out" / "mix-000000.tar"), shardshuffle=False).decode("pil"))
    assert [sample["json"]["id"] for sample in found] == ["a", "b", "c"]
    for sample, row in zip(found, ROWS, strict=True):
        talk = sample["json"]["messages"]
        assert [message["content"] for message in talk[::2]] == questions(row)
        assert [message["content"] for message in talk[1::2]] == answers(row)
        names = sorted(name for name in sample if name.endswith("png"))
        assert pixels([sample[name] for name in names]) == expected_pixels(row)


@their_warnings
def test_llamafactory(tmp_path):
    """Its own loader and converter, as training calls them. It asks for another transformers, which they do not use."""
    os.environ.setdefault("DISABLE_VERSION_CHECK", "1")
    loader = pytest.importorskip(
        "llamafactory.data.loader", reason="llamafactory is not installed", exc_type=ImportError
    )
    from llamafactory.data.parser import get_dataset_list

    out = tmp_path / "out"
    write_rows(ROWS, out, "llamafactory", name="mix")
    (attributes,) = get_dataset_list(["mix"], str(out))
    model = SimpleNamespace(cache_dir=str(tmp_path / "cache"), hf_hub_token=None)
    data = SimpleNamespace(
        dataset_dir=str(out),
        media_dir=str(out),
        streaming=False,
        preprocessing_num_workers=None,
        max_samples=None,
        overwrite_cache=False,
    )
    found = loader._load_single_dataset(attributes, model, data, SimpleNamespace(local_process_index=0))
    for sample, row in zip(found, ROWS, strict=True):
        talk = [message["content"] for message in [*sample["_prompt"], *sample["_response"]]]
        assert talk[::2] == questions(row)
        assert talk[1::2] == answers(row)
        assert pixels(map(Image.open, sample["_images"] or [])) == expected_pixels(row)
        assert "".join(talk).count("<image>") == len(row.sources)


@their_warnings
def test_swift(tmp_path, monkeypatch):
    """Its own loader; it looks relative paths up in ROOT_IMAGE_DIR."""
    swift = pytest.importorskip("swift.dataset", reason="ms-swift is not installed", exc_type=ImportError)
    out = tmp_path / "out"
    write_rows(ROWS, out, "swift", name="mix")
    monkeypatch.setenv("ROOT_IMAGE_DIR", str(out))
    found, _ = swift.load_dataset(str(out / "mix.jsonl"), load_from_cache_file=False)
    for sample, row in zip(found, ROWS, strict=True):
        talk = [message["content"] for message in sample["messages"]]
        assert talk[::2] == questions(row)
        assert talk[1::2] == answers(row)
        images = [Image.open(out / entry["path"]) for entry in sample.get("images") or []]
        assert pixels(images) == expected_pixels(row)


def test_llava(tmp_path):
    """What LLaVA's LazySupervisedDataset does with a row; the package itself needs the trainer's whole stack."""
    out = tmp_path / "out"
    write_rows(ONE_IMAGE, out, "llava", name="mix")
    for sample, row in zip(json.loads((out / "mix.json").read_text()), ONE_IMAGE, strict=True):
        if "image" in sample:
            image = Image.open(os.path.join(out, sample["image"])).convert("RGB")
            assert pixels([image]) == expected_pixels(row)
        roles = {"human": "USER", "gpt": "ASSISTANT"}
        talk = [(roles[turn["from"]], turn["value"]) for turn in sample["conversations"]]
        assert [role for role, _ in talk] == ["USER", "ASSISTANT"] * len(row.turns)
        assert sum(text.count("<image>") for _, text in talk) == len(row.sources)
        assert [text for _, text in talk[1::2]] == answers(row)


def test_hugging_face(tmp_path, monkeypatch):
    datasets = pytest.importorskip("datasets", reason="the datasets package is not installed")
    monkeypatch.setattr(parquet, "SHARD_BYTES", 1)  # a file for each group
    monkeypatch.setattr(parquet, "GROUP_ROWS", 2)
    beside = {"_selected.parquet": lambda file: pq.write_table(pa.table({"other": [1]}), file)}
    out = tmp_path / "out"
    write_rows(ROWS, out, "huggingface", name="test", beside=beside)
    shards = [f"train-0000{shard}-of-00002.parquet" for shard in range(2)]
    assert sorted(os.listdir(out)) == ["_selected.parquet", "manifest.json", *shards]
    for streaming in (False, True):
        found = datasets.load_dataset(str(out), streaming=streaming, cache_dir=str(tmp_path / "cache"))
        assert list(found) == ["train"]
        for sample, row in zip(found["train"], ROWS, strict=True):
            talk = [message["content"] for message in sample["messages"]]
            assert sample["id"] == row.id
            assert [message["role"] for message in sample["messages"]] == ["user", "assistant"] * len(row.turns)
            assert (talk[::2], talk[1::2]) == (questions(row), answers(row))
            assert pixels(sample["images"]) == expected_pixels(row)
    plain = found["train"].cast_column("images", [datasets.Image(decode=False)])
    first = next(iter(plain))["images"][0]
    assert Image.open(io.BytesIO(first["bytes"])).size == Image.open(io.BytesIO(files.RED)).size


@their_warnings
def test_trl(tmp_path):
    """The messages become TRL's, by its own function where it is installed, and by its rule elsewhere."""
    datasets = pytest.importorskip("datasets", reason="the datasets package is not installed")
    write_rows(ROWS, tmp_path / "out", "trl", name="mix")
    found = datasets.load_dataset(str(tmp_path / "out"), split="train", cache_dir=str(tmp_path / "cache"))
    for sample, row in zip(found, ROWS, strict=True):
        talk = prepared_by_trl(sample["messages"], sample["images"])
        assert [message["role"] for message in talk] == ["user", "assistant"] * len(row.turns)
        said = [[(part["type"], part["text"]) for part in message["content"]] for message in talk]
        expected = {
            "a": [[("image", None), ("text", "What?")]],
            "b": [[("text", "x "), ("image", None), ("text", "y"), ("image", None)], [("text", "é")]],
            "c": [[("text", "No image")]],
        }
        assert said[::2] == expected[row.id]
        assert said[1::2] == [[("text", answer)] for answer in answers(row)]
        images = [part["image"] for message in talk for part in message["content"] if part["type"] == "image"]
        assert pixels(images) == expected_pixels(row)


def prepared_by_trl(messages, images):
    try:
        from trl.data_utils import prepare_multimodal_messages
    except ImportError:
        filled = iter(images)
        for part in (part for message in messages for part in message["content"] if part["type"] == "image"):
            part["image"] = next(filled)
        return messages
    return prepare_multimodal_messages(messages, images)


@their_warnings
def test_verl(tmp_path):
    """The columns that verl's RLHFDataset and its reward managers read; it replaces each <image> by the next image."""
    datasets = pytest.importorskip("datasets", reason="the datasets package is not installed")
    rows = [replace(row, id=f"source/{row.id}") for row in ROWS]
    write_rows(rows, tmp_path / "out", "verl", name="mix")
    (file,) = (tmp_path / "out").glob("*.parquet")
    found = datasets.load_dataset("parquet", data_files=str(file), split="train", cache_dir=str(tmp_path / "cache"))
    for number, (sample, row) in enumerate(zip(found, rows, strict=True)):
        talk = [message["content"] for message in sample["prompt"]]
        assert (talk[::2], talk[1::2]) == (questions(row), answers(row)[:-1])
        assert sample["prompt"][-1]["role"] == "user"
        assert "".join(talk).count("<image>") == len(sample["images"])
        assert pixels(sample["images"]) == expected_pixels(row)
        assert sample["reward_model"] == {"style": "rule", "ground_truth": row.turns[-1].answer}
        assert (sample["data_source"], sample["extra_info"]["index"]) == ("source", number)
