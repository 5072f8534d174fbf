"""Arguments of processors, as a user gives them: as if in the model's files, and refused where they do nothing."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("transformers")

from PIL import Image

from dataprophet import Profile, load_model, open_dataset
from dataprophet.cli import main
from dataprophet.cli.common import loading
from dataprophet.cli.parser import build_parser
from dataprophet.data.sample import Sample
from dataprophet.errors import ModelError
from dataprophet.model.load import DEMO_FOLDER

PICTURE = Image.radial_gradient("L").resize((300, 200)).convert("RGB")
SAMPLE = Sample("1", [PICTURE], "what is the shape ?", "the red square")
GIVEN = {
    "qwen2_5_vl": ({"min_pixels": 784, "max_pixels": 784}, {"size": {"shortest_edge": 784, "longest_edge": 784}}),
    "smolvlm": ({"size.longest_edge": 28}, {"size": {"longest_edge": 28}}),
    "internvl": ({"max_patches": 1, "crop_to_patches": False}, {"max_patches": 1, "crop_to_patches": False}),
    "llava": ({"image_mean": [0.2, 0.3, 0.4]}, {"image_mean": [0.2, 0.3, 0.4]}),
}


def length(model) -> int:
    [encoded], _ = model._encoder.group([model._encoder.chat.render(SAMPLE)], SAMPLE.images)
    return len(encoded)


@pytest.mark.parametrize("family", GIVEN)
def test_arguments_do_what_the_files_of_the_model_do(family, tiny_folder, tiny_model, tmp_path):
    given, written = GIVEN[family]
    model = load_model(str(tiny_folder(family)), device="cpu", processor=given)
    folder = Path(shutil.copytree(tiny_folder(family), tmp_path / "model"))
    settings = json.loads((folder / "preprocessor_config.json").read_text())
    (folder / "preprocessor_config.json").write_text(json.dumps(settings | written))
    edited = load_model(str(folder), device="cpu")
    np.testing.assert_array_equal(model.logprobs([SAMPLE])[0], edited.logprobs([SAMPLE])[0])
    plain = tiny_model(family)
    assert abs(model.logprobs([SAMPLE])[0] - plain.logprobs([SAMPLE])[0]).max() > 1e-4
    assert length(model) < length(plain) or family == "llava"
    others = {key for key in model.settings if model.settings[key] != plain.settings.get(key)}
    assert others == {"processor"}


def test_an_argument_of_the_processor_itself(tmp_path):
    folder = Path(shutil.copytree(DEMO_FOLDER, tmp_path / "model"))
    settings = json.loads((folder / "processor_config.json").read_text())
    (folder / "processor_config.json").write_text(json.dumps({k: v for k, v in settings.items() if k != "patch_size"}))
    [found] = load_model(str(folder), device="cpu", processor={"patch_size": 8}).logprobs([SAMPLE])
    np.testing.assert_array_equal(found, load_model("demo", device="cpu").logprobs([SAMPLE])[0])


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"max_pixel": 1}, ["no argument 'max_pixel'", "max_pixels", "min_pixels", "size.longest_edge"]),
        ({"size.height": 28}, ["no argument 'size.height'", "size.longest_edge"]),
        ({"crop_size": 28}, ["no argument 'crop_size'"]),  # which this one does not use
        ({"device": "cuda"}, ["no argument 'device'"]),
        ({"size.longest_edge": "big"}, ["size.longest_edge is 'big'", "such as"]),
        ({"max_pixels": "big"}, ["big"]),
        ({"max_pixels": -1}, ["max_pixels=-1"]),
    ],
)
def test_what_is_refused(given, words, tiny_folder):
    with pytest.raises(ModelError) as caught:
        load_model(str(tiny_folder("qwen2_5_vl")), device="cpu", processor=given)
    for word in words:
        assert word in str(caught.value)


def test_the_options_of_the_commands(tmp_path):
    words = ["plan", "data", "--model", "demo", "--processor", "max_pixels=200704", "size.longest_edge=512"]
    words += ["--processor", "do_resize=false", "resample=bicubic", "--score-terminator", "--template", "mine.jinja"]
    assert loading(build_parser().parse_args(words)) == {
        "processor": {"max_pixels": 200704, "size.longest_edge": 512, "do_resize": False, "resample": "bicubic"},
        "score_terminator": True,
        "template": str(Path("mine.jinja").absolute()),
    }
    assert loading(build_parser().parse_args(["plan", "data", "--model", "demo"])) == {}


def test_a_template_that_changed_makes_a_profile_anew(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    rows = ({"question": f"How many are {n}?", "answer": str(n)} for n in range(20))
    Path("x.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    text = (DEMO_FOLDER / "chat_template.jinja").read_text()
    words = ["profile", "x.jsonl", "--model", "demo", "--template", "own.jinja", "--out", "x.profile"]
    made = []
    for template in (text, text, "Look at this. " + text):
        if template != text or not Path("own.jinja").exists():
            Path("own.jinja").write_text(template)
        assert main([*words, "--clusters", "3", "--processes", "0"]) == 0
        made.append((Profile.load("x.profile"), "unchanged" in capsys.readouterr().err))
    (first, _), (again, kept), (other, anew) = made
    assert (kept, anew) == (True, False)
    assert first == again
    assert other.settings["template"] != first.settings["template"]
    assert other.perplexity != first.perplexity


def test_an_image_that_lies_on_its_side_is_upright_however_it_is_given(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    PICTURE.save(tmp_path / "side.jpg", exif=exif, quality=95)
    Path(tmp_path / "x.jsonl").write_text(json.dumps({"image": "side.jpg", "question": "what ?", "answer": "square"}))
    model = load_model("demo", device="cpu")
    (by_path,) = open_dataset(tmp_path / "x.jsonl")
    given = Sample("1", [Image.open(tmp_path / "side.jpg")], "what ?", "square")
    first, second = (next(model.features([sample])) for sample in (by_path, given))
    np.testing.assert_array_equal(np.asarray(first.embeddings["image"]), np.asarray(second.embeddings["image"]))
    np.testing.assert_array_equal(first.nll, second.nll)
    assert given.images[0].size == PICTURE.size  # the caller's image is as it was
