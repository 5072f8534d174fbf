# ruff: noqa: E402 (torch and transformers are optional)
"""A folder with an adapter is scored with it, or refused."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

from PIL import Image
from safetensors.torch import load_file, save_file

from dataprophet import load_model
from dataprophet.data.sample import Sample
from dataprophet.errors import DataProphetError
from dataprophet.model.load import DEMO_FOLDER
from dataprophet.scoring.cache import model_state

SAMPLE = Sample("1", [Image.new("RGB", (32, 32), (200, 30, 30))], "How many red squares?", "There are three.")
RANK, ALPHA = 4, 8


@pytest.fixture
def folder(tmp_path) -> Path:
    """The demo's model with a LoRA adapter beside its weights."""
    made, weights = Path(shutil.copytree(DEMO_FOLDER, tmp_path / "model")), {}
    generator = torch.Generator().manual_seed(0)
    for name, weight in load_file(made / "model.safetensors").items():
        if "language_model" in name and name.endswith("q_proj.weight"):
            key = "base_model.model." + name.removesuffix(".weight").replace("language_model.model", "language_model")
            key = key if ".model.model." in key else key.replace("base_model.model.", "base_model.model.model.")
            weights[f"{key}.lora_A.weight"] = torch.randn(RANK, weight.shape[1], generator=generator)
            weights[f"{key}.lora_B.weight"] = torch.randn(weight.shape[0], RANK, generator=generator)
    save_file(weights, made / "adapter_model.safetensors", metadata={"format": "pt"})
    settings = {"base_model_name_or_path": "org/base", "peft_type": "LORA", "r": RANK, "lora_alpha": ALPHA}
    settings |= {"target_modules": ".*language_model.*q_proj", "inference_mode": True, "bias": "none"}
    (made / "adapter_config.json").write_text(json.dumps(settings))
    return made


def refusal(folder: Path) -> str:
    with pytest.raises(DataProphetError) as caught:
        load_model(str(folder), device="cpu")
    return str(caught.value)


def test_it_is_refused_without_peft(folder, monkeypatch):
    monkeypatch.setitem(sys.modules, "peft", None)
    line = refusal(folder)
    assert "pip install 'peft>=" in line
    assert "merge" in line


def test_it_is_applied_with_peft(folder):
    pytest.importorskip("peft")
    model, plain = load_model(str(folder), device="cpu"), load_model("demo", device="cpu")
    merged = transformers.AutoModelForImageTextToText.from_pretrained(DEMO_FOLDER, dtype=torch.float32)
    weights = load_file(folder / "adapter_model.safetensors")
    modules, changed = dict(merged.named_modules()), 0
    with torch.no_grad():
        for name, module in modules.items():
            key = f"base_model.model.{name}"
            if f"{key}.lora_A.weight" in weights:
                product = weights[f"{key}.lora_B.weight"] @ weights[f"{key}.lora_A.weight"]
                module.weight += ALPHA / RANK * product
                changed += 1
    assert changed == len(weights) // 2
    from dataprophet.model import from_transformers
    from dataprophet.model.processor import load_processor

    expected = from_transformers(merged, load_processor(str(DEMO_FOLDER), merged.config)).logprobs([SAMPLE])[0]
    [found] = model.logprobs([SAMPLE])
    np.testing.assert_allclose(found, expected, atol=2e-5)
    assert abs(found - plain.logprobs([SAMPLE])[0]).max() > 0.1
    assert model.fingerprint != plain.fingerprint
    weights = {name.replace("q_proj", "k_proj"): weight for name, weight in weights.items()}
    save_file(weights, folder / "adapter_model.safetensors", metadata={"format": "pt"})
    assert "adapter is of this model" in refusal(folder)


def test_pickled_adapters_are_refused(folder):
    (folder / "adapter_model.safetensors").rename(folder / "adapter_model.bin")
    assert "adapter_model.safetensors" in refusal(folder)


def alone(folder: Path, base: str, **settings: str) -> Path:
    """The folder with nothing but the adapter, which names this base model."""
    for path in folder.iterdir():
        if not path.name.startswith("adapter_"):
            path.unlink()
    file = folder / "adapter_config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "base_model_name_or_path": base, **settings}))
    return folder


@pytest.mark.parametrize("place", ["whole path", "beside", "cache"])
def test_an_adapter_alone_is_scored_with_its_base_model(place, folder, tmp_path, monkeypatch):
    pytest.importorskip("peft")
    import huggingface_hub.constants as hub

    both = load_model(str(folder), device="cpu")
    base, given = Path(shutil.copytree(DEMO_FOLDER, tmp_path / "base")), {}
    name = {"whole path": str(base), "beside": "../base", "cache": "org/base"}[place]
    if place == "cache":
        monkeypatch.setattr(hub, "HF_HUB_CACHE", str(tmp_path / "hub"))
        root = tmp_path / "hub" / "models--org--base"
        shutil.copytree(base, root / "snapshots" / ("0" * 40))
        (root / "refs").mkdir()
        (root / "refs" / "v2").write_text("0" * 40)
        given = {"revision": "v2"}
    model = load_model(str(alone(folder, name, **given)), device="cpu")
    np.testing.assert_array_equal(model.logprobs([SAMPLE])[0], both.logprobs([SAMPLE])[0])
    assert model.name == "model"
    assert model.fingerprint not in (both.fingerprint, load_model("demo", device="cpu").fingerprint)
    if place == "beside":  # what changes in the base model counts, for the fingerprint and for caches of it
        state = model_state({"name": str(folder)})
        (base / "generation_config.json").unlink()
        assert model_state({"name": str(folder)}) != state
        assert load_model(str(folder), device="cpu").fingerprint != model.fingerprint


def test_the_processor_of_an_adapters_folder_counts(folder, tmp_path):
    pytest.importorskip("peft")
    base = Path(shutil.copytree(DEMO_FOLDER, tmp_path / "base"))
    before = load_model(str(alone(folder, str(base))), device="cpu").settings["template"]
    for path in base.iterdir():
        if path.suffix in (".json", ".jinja") and path.name not in ("config.json", "generation_config.json"):
            shutil.copy(path, folder)
    text = (folder / "chat_template.jinja").read_text()
    (folder / "chat_template.jinja").write_text(f"Begin. {text}")
    assert load_model(str(folder), device="cpu").settings["template"] != before


def test_an_adapter_alone_whose_base_model_is_not_there_is_told_it(folder, tmp_path):
    line = refusal(alone(folder, "org/base-of-nowhere"))
    for part in ("'org/base-of-nowhere'", "neither a folder nor in the cache", "hf download", "merge_and_unload"):
        assert part in line
    assert "names no base model" in refusal(alone(folder, ""))
    (tmp_path / "base").mkdir()
    assert "its base model" in refusal(alone(folder, str(tmp_path / "base")))
    (folder / "adapter_config.json").write_text("{")
    assert "adapter_config.json cannot be read" in refusal(folder)


def test_a_base_model_that_lacks_weights_is_refused_with_an_adapter_too(folder):
    pytest.importorskip("peft")
    weights = load_file(folder / "model.safetensors")
    del weights[next(name for name in weights if "down_proj" in name)]
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    assert "its files lack 1 weights" in refusal(folder)
