# ruff: noqa: E402 (torch and transformers are optional)
"""Broken model folders through the command line: one line with cause and fix for each, and never a traceback."""

from __future__ import annotations

import importlib.util
import json
import os
import pickle
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

from safetensors.torch import load_file, save_file

from dataprophet.cli import main
from dataprophet.model.load import DEMO_FOLDER

Damage = Callable[[Path], Any]
PARTS = (
    "{% for m in messages %}<{{ m['role'] }}>{% for c in m['content'] %}"
    "{% if c['type'] == 'image' %}<image>{% else %}{{ c['text'] }}{% endif %}{% endfor %}{% endfor %}"
)


def removed(*names: str) -> Damage:
    return lambda folder: [(folder / name).unlink() for name in names]


def edited(name: str, **values: Any) -> Damage:
    """A JSON file with other values; None takes a value away, and a dictionary changes a part."""

    def damage(folder: Path) -> None:
        document = json.loads((folder / name).read_text())
        for key, value in values.items():
            if value is None:
                document.pop(key)
            elif isinstance(value, dict) and isinstance(document.get(key), dict):
                document[key] |= value
            else:
                document[key] = value
        (folder / name).write_text(json.dumps(document))

    return damage


def written(name: str, text: str | bytes) -> Damage:
    content = text.encode() if isinstance(text, str) else text
    return lambda folder: (folder / name).write_bytes(content)


def reweighed(change: Callable[[dict[str, Any]], Any]) -> Damage:
    def damage(folder: Path) -> None:
        weights = load_file(folder / "model.safetensors")
        change(weights)
        save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})

    return damage


def template(text: str) -> Damage:
    return written("chat_template.jinja", text)


def configured(config: str, **values: Any) -> Damage:
    return lambda folder: getattr(transformers, config)(**values).save_pretrained(folder)


def of_all(*damages: Damage) -> Damage:
    return lambda folder: [damage(folder) for damage in damages]


def more_tokens(folder: Path) -> None:
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    tokenizer.add_tokens([f"extra{number}" for number in range(9)])
    tokenizer.save_pretrained(folder)


def lora(folder: Path) -> None:
    settings = {"base_model_name_or_path": "org/base-7b", "peft_type": "LORA", "r": 4, "target_modules": ["q_proj"]}
    (folder / "adapter_config.json").write_text(json.dumps(settings))
    save_file({"base_model.model.x.lora_A.weight": torch.zeros(4, 8)}, folder / "adapter_model.safetensors")


def not_a_number(weights: dict[str, Any]) -> None:
    weights[next(name for name in weights if "q_proj" in name)].fill_(float("nan"))


def first(weights: dict[str, Any]) -> str:
    return next(name for name in weights if "q_proj" in name)


LETTERS = {"type": "WordLevel", "vocab": {"<unk>": 0, "a": 1}, "unk_token": "<unk>"}
LLAMA = {"tokenizer_class": "LlamaTokenizer"}
PACKAGES = {"an image processor of torchvision": "torchvision", "a vision tower of timm": "timm"}
QUANTISED = {"load_in_4bit": True, "quant_method": "bitsandbytes"}
BROKEN: dict[str, tuple[Damage, list[str]]] = {
    "an empty folder": (lambda folder: [path.unlink() for path in folder.iterdir()], ["no config.json"]),
    "no config": (removed("config.json"), ["no config.json"]),
    "a damaged config": (written("config.json", "{"), ["configuration cannot be read"]),
    "a config that is a list": (written("config.json", "[1]"), ["configuration cannot be read"]),
    "an unknown family": (edited("config.json", model_type="homemade"), ["homemade", "transformers"]),
    "a family with code of its own": (
        edited("config.json", model_type="homemade", auto_map={"AutoConfig": "code.Homemade"}),
        ["its own Python code", "--trust-remote-code"],
    ),
    "a text-only model": (configured("LlamaConfig", num_hidden_layers=1), ["'llama'", "takes no images"]),
    "an encoder-decoder": (configured("Florence2Config"), ["'florence2'", "encoder-decoder"]),
    "an encoder-decoder by its text": (configured("T5Gemma2Config"), ["encoder-decoder"]),
    "cross-attention": (configured("MllamaConfig"), ["'mllama'", "cross-attention"]),
    "cross-attention at intervals": (configured("IdeficsConfig"), ["'idefics'", "cross-attention"]),
    "an omni model": (
        configured("Qwen2_5OmniConfig"),
        ["thinker", "Qwen2_5OmniThinkerForConditionalGeneration.from_pretrained"],
    ),
    "another size": (edited("config.json", text_config={"hidden_size": 64}), ["other shapes", "config.json", "(531, 128), not (531, 64)"]),
    "no weights": (removed("model.safetensors"), ["no *.safetensors"]),
    "pickled weights": (
        of_all(removed("model.safetensors"), written("pytorch_model.bin", pickle.dumps(1))),
        ["pytorch_model.bin", "only safetensors"],
    ),
    "weights cut short": (
        lambda f: os.truncate(f / "model.safetensors", (f / "model.safetensors").stat().st_size - 100),
        ["damaged or cut short", "download"],
    ),
    "a pointer in the place of weights": (
        written("model.safetensors", "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n"),
        ["damaged or cut short", "download"],
    ),
    "a shard that is missing": (
        of_all(
            lambda f: (f / "model.safetensors").rename(f / "model-00001-of-00002.safetensors"),
            written(
                "model.safetensors.index.json",
                json.dumps({"metadata": {}, "weight_map": {"a": "model-00002-of-00002.safetensors"}}),
            ),
        ),
        ["model-00002-of-00002.safetensors", "a file is missing", "download"],
    ),
    "a weight that is missing": (reweighed(lambda w: w.pop(first(w))), ["lack 1 weights", "random"]),
    "a narrow weight": (
        reweighed(lambda w: w.update({first(w): w[first(w)][:, 1:].contiguous()})),
        ["other shapes", "q_proj", "127)"],
    ),
    "weights that are not numbers": (reweighed(not_a_number), ["nan"]),
    "quantised weights": (edited("config.json", quantization_config=QUANTISED), ["quantised (bitsandbytes)"]),
    "weights quantised for another package": (
        edited("config.json", quantization_config={"quant_method": "gptq", "bits": 4}),
        ["quantised (gptq)"],
    ),
    "an adapter alone": (
        of_all(lora, removed("config.json", "model.safetensors")),
        ["adapter", "org/base-7b", "merge"],
    ),
    "an adapter that does not fit": (lora, ["adapter"]),
    "no tokenizer": (removed("tokenizer.json"), ["no tokenizer", "save_pretrained"]),
    "a damaged tokenizer": (written("tokenizer.json", '{"version": "1.0"'), ["tokenizer"]),
    "a tokenizer without the image token": (
        of_all(
            edited("tokenizer_config.json", image_token=None), edited("processor_config.json", image_token="<picture>")
        ),
        ["does not know", "'<picture>'"],
    ),
    "a tokenizer that is larger than the embedding": (more_tokens, ["extra8", "embedding", "rows"]),
    "a tokenizer that does not know most letters": (edited("tokenizer.json", model=LETTERS), ["spell"]),
    "no preprocessor": (removed("processor_config.json"), ["processor"]),
    "an unknown processor": (edited("processor_config.json", processor_class="Homemade"), ["processor"]),
    "an unknown image processor": (
        edited("processor_config.json", image_processor={"image_processor_type": "Homemade"}),
        ["processor"],
    ),
    "an image processor of torchvision": (
        edited("processor_config.json", image_processor={"image_processor_type": "Cohere2VisionImageProcessor"}),
        ["pip install torchvision"],
    ),
    "a vision tower of timm": (
        edited("config.json", vision_config={"model_type": "timm_wrapper", "architecture": "resnet18"}),
        ["pip install timm"],
    ),
    "a tokenizer of sentencepiece": (
        of_all(removed("tokenizer.json"), written("tokenizer.model", b"\0"), edited("tokenizer_config.json", **LLAMA)),
        ["tokenizer"],
    ),
    "no patch size": (edited("processor_config.json", patch_size=None), ["patch_size", "--processor patch_size=8"]),
    "a processor that counts otherwise": (
        edited("processor_config.json", num_additional_image_tokens=5),
        ["features for", "image tokens"],
    ),
    "no template": (removed("chat_template.jinja"), ["no chat template", "template"]),
    "a template that is cut off": (template("{% for m in messages %}{% if"), ["does not render"]),
    "a template without the messages": (template("<user><image>Hello"), ["renders a message 0 times"]),
    "a template without images": (
        template(PARTS.replace("<image>", "")),
        ["renders an image 0 times"],
    ),
    "a template that throws dice": (
        template("{{ range(99999) | random }}" + (DEMO_FOLDER / "chat_template.jinja").read_text()),
        ["differently each time"],
    ),
    "a template that changes answers": (
        template(PARTS.replace("c['text']", "c['text'] | upper")),
        ["renders a message 0 times"],
    ),
}


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from PIL import Image

    folder = tmp_path_factory.mktemp("data")
    Image.new("RGB", (32, 32)).save(folder / "a.png")
    talk = [{"from": "human", "value": "<image>\nHow many?"}, {"from": "gpt", "value": "Two"}]
    (folder / "data.json").write_text(json.dumps([{"id": "1", "image": "a.png", "conversations": talk}]))
    return folder / "data.json"


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_folder(name, dataset, tmp_path, capfd):
    damage, words = BROKEN[name]
    if name in PACKAGES and importlib.util.find_spec(PACKAGES[name]):
        pytest.skip(f"{PACKAGES[name]} is installed")
    folder = Path(shutil.copytree(DEMO_FOLDER, tmp_path / "model"))
    damage(folder)
    status = main(["plan", str(dataset), "--model", str(folder), "--device", "cpu", "--rows", "1"])
    out, err = capfd.readouterr()
    assert status == 1
    assert "Traceback" not in out + err
    lines = [line for line in err.splitlines() if line.startswith("dataprophet: error: ")]
    assert len(lines) == 1
    assert err.splitlines() == lines, err  # nothing but the line
    assert "; " in lines[0]  # the fix
    for word in words:
        assert word in lines[0], lines[0]


def test_the_line_is_all_that_the_command_says(dataset, tmp_path):
    """In a process of its own, with transformers as talkative as it is for users."""
    folder = Path(shutil.copytree(DEMO_FOLDER, tmp_path / "model"))
    BROKEN["a narrow weight"][0](folder)
    environment = {name: value for name, value in os.environ.items() if name != "TRANSFORMERS_VERBOSITY"}
    command = [sys.executable, "-P", "-m", "dataprophet.cli", "profile", dataset, "--model", folder, "--device", "cpu"]
    command += ["--out", tmp_path / "profile"]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 1
    assert [line[:20] for line in (done.stdout + done.stderr).splitlines()] == ["dataprophet: error: "]
