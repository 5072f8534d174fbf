# ruff: noqa: E402 (torch and transformers are optional)
"""Loading: identity of a model, and one clear line for everything that cannot be loaded. Nothing is executed."""

from __future__ import annotations

import importlib.metadata
import inspect
import json
import os
import pickle
import shutil
import sys
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
safetensors_torch = pytest.importorskip("safetensors.torch")

from PIL import Image

from dataprophet import load_model
from dataprophet.data.sample import Sample
from dataprophet.errors import DataProphetError, MissingDependencyError, ModelError
from dataprophet.model.processor import has_torchvision


@pytest.fixture
def folder(tiny_folder, tmp_path):
    """A copy of a tiny LLaVA that a test may damage."""
    return Path(shutil.copytree(tiny_folder("llava"), tmp_path / "model"))


def refused(name, *words: str, kind: type[DataProphetError] = ModelError, **options) -> str:
    """Loads, expects an error on one line with all ``words``, and gives the line."""
    with pytest.raises(kind) as caught:
        load_model(str(name), device=options.pop("device", "cpu"), **options)
    line = str(caught.value)
    assert "\n" not in line
    assert caught.value.where
    assert caught.value.fix
    for word in words:
        assert word in line, line
    return line


def edit(path: Path, **values) -> None:
    settings = json.loads(path.read_text())
    settings.update(values)
    path.write_text(json.dumps({key: value for key, value in settings.items() if value is not None}))


class Runs:
    """A pickle that makes a folder when it is loaded."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


def test_a_name_that_is_not_a_folder(folder, tmp_path):
    refused(tmp_path / "nope", "no such folder")
    refused("./nope", "no such folder")
    refused(folder / "config.json", "not a folder")


def unlinked(pattern: str):
    return lambda folder: [path.unlink() for path in folder.glob(pattern)]


def without_a_weight(weights: dict, name: str) -> None:
    del weights[name]


def with_a_narrow_weight(weights: dict, name: str) -> None:
    weights[name] = weights[name][:, :-1].contiguous()


def reweighed(change):
    def damage(folder: Path) -> None:
        weights = safetensors_torch.load_file(folder / "model.safetensors")
        change(weights, next(name for name in weights if "q_proj" in name))
        safetensors_torch.save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})

    return damage


DAMAGES = {
    "no config": (unlinked("config.json"), ["no config.json"]),
    "a damaged config": (lambda f: (f / "config.json").write_text("{"), ["configuration cannot be read"]),
    "an unknown family": (
        lambda f: edit(f / "config.json", model_type="homemade"),
        ["configuration cannot be read", "homemade"],
    ),
    "a text-only model": (
        lambda f: transformers.LlamaConfig(hidden_size=64, num_hidden_layers=1).save_pretrained(f),
        ["'llama'", "takes no images"],
    ),
    "no weights": (unlinked("model.safetensors"), ["no *.safetensors"]),
    "weights cut short": (
        lambda f: os.truncate(f / "model.safetensors", (f / "model.safetensors").stat().st_size - 100),
        ["weights cannot be loaded"],
    ),
    "missing weights, which are not made up": (reweighed(without_a_weight), ["lack 1 weights", "q_proj", "random"]),
    "weights of another shape": (reweighed(with_a_narrow_weight), ["weights have other shapes"]),
    "no chat template": (unlinked("chat_template.jinja"), ["no chat template", "template="]),
    "no tokenizer": (unlinked("tokenizer*"), ["processor"]),
    "no preprocessor": (unlinked("preprocessor_config.json"), ["processor"]),
    "a processor of another model": (
        lambda f: edit(f / "processor_config.json", num_additional_image_tokens=3),
        ["image"],
    ),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_folder(damage, folder):
    change, words = DAMAGES[damage]
    change(folder)
    refused(folder, *words)


def test_pickled_weights_are_refused_and_not_executed(folder, tmp_path):
    trap = tmp_path / "executed"
    (folder / "model.safetensors").unlink()
    (folder / "pytorch_model.bin").write_bytes(pickle.dumps(Runs(trap)))
    refused(folder, "pytorch_model.bin", "only safetensors")
    assert not trap.exists()


def test_pickled_weights_next_to_safetensors_are_not_executed(folder, tmp_path):
    trap = tmp_path / "executed"
    (folder / "pytorch_model.bin").write_bytes(pickle.dumps(Runs(trap)))
    load_model(str(folder), device="cpu")
    assert not trap.exists()


def test_remote_code_is_off_unless_asked(folder, tmp_path):
    trap = tmp_path / "executed"
    edit(folder / "config.json", model_type="homemade", auto_map={"AutoConfig": "code.Homemade"})
    (folder / "code.py").write_text(f"import os\nos.mkdir({str(trap)!r})\nclass Homemade: pass\n")
    refused(folder, "its own Python code", "trust_remote_code=True")
    assert not trap.exists()


def test_a_name_that_the_hub_cannot_give(monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    refused("nobody/no-such-model", "configuration cannot be read", "network")


@pytest.mark.parametrize("device", ["tpu9", "gpu", "meta", "mps"])
def test_an_unknown_device(folder, device):
    refused(folder, repr(device), "auto, cpu, cuda", device=device)


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without CUDA")
def test_cuda_that_is_not_there(folder):
    refused(folder, "'cuda'", "sees 0 CUDA devices", device="cuda")
    assert load_model(str(folder), device="auto").device == "cpu"


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
def test_cuda(folder):
    sample = Sample("a", [Image.new("RGB", (28, 28))], "how many circles?", "one two three")
    [expected] = load_model(str(folder), device="cpu").logprobs([sample])
    model = load_model(str(folder), device="cuda", dtype="float32")
    [found] = model.logprobs([sample])
    assert abs(found - expected).max() < 1e-3
    assert load_model(str(folder), device="auto").dtype == "bfloat16"


def test_an_unknown_dtype(folder):
    refused(folder, "'int8'", "bfloat16", dtype="int8")


def test_a_batch_of_nothing(folder):
    refused(folder, "batch_tokens is 0", batch_tokens=0)


def test_a_template_file(folder, tmp_path):
    path = tmp_path / "mine.jinja"
    refused(folder, "mine.jinja", template=str(path))
    path.write_text((folder / "chat_template.jinja").read_text().replace("ROLE", "X"))
    assert load_model(str(folder), template=str(path)).settings == load_model(str(folder)).settings


@pytest.mark.parametrize("package", ["torch", "transformers", "PIL"])
def test_a_missing_package(folder, package, monkeypatch):
    monkeypatch.setitem(sys.modules, package, None)
    refused(folder, package, "pip install 'torch>=", kind=MissingDependencyError)


@pytest.mark.parametrize("version", ["4.57.1", "5.22.0", "6.0.0"])
def test_transformers_out_of_range(folder, version, monkeypatch):
    original = importlib.metadata.version
    monkeypatch.setattr(
        importlib.metadata, "version", lambda name: version if name == "transformers" else original(name)
    )
    refused(folder, version, "5.23", kind=MissingDependencyError)


def test_a_torchvision_that_does_not_match_torch(folder, tmp_path, monkeypatch):
    package = tmp_path / "torchvision"
    package.mkdir()
    (package / "__init__.py").write_text("raise RuntimeError('operator torchvision::nms does not exist')")
    information = tmp_path / "torchvision-0.1.2.dist-info"
    information.mkdir()
    (information / "METADATA").write_text("Metadata-Version: 2.1\nName: torchvision\nVersion: 0.1.2\n")
    for name in [name for name in sys.modules if name.split(".")[0] == "torchvision"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.syspath_prepend(tmp_path)
    line = refused(folder, "torchvision 0.1.2", importlib.metadata.version("torch"), kind=MissingDependencyError)
    assert "pip uninstall torchvision" in line


def test_the_image_backend_is_recorded(tiny_model):
    expected = "torchvision" if has_torchvision() else "pil"
    for family in ("llava", "qwen3_vl", "internvl"):
        assert tiny_model(family).settings["image_backend"] == expected


def test_the_fingerprint_is_the_content_of_the_model(folder, tmp_path, tiny_model):
    model = load_model(str(folder), device="cpu")
    assert model.name == "model"
    assert model.fingerprint == tiny_model("llava").fingerprint
    assert len(bytes.fromhex(model.fingerprint)) == 32
    (folder / "README.md").write_text("about")
    assert load_model(str(folder)).fingerprint == model.fingerprint
    weights = folder / "model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-2] ^= 1  # one bit of one weight
    weights.write_bytes(content)
    other = load_model(str(folder)).fingerprint
    assert other != model.fingerprint
    edit(folder / "preprocessor_config.json", image_mean=[0.4, 0.5, 0.5])
    assert load_model(str(folder)).fingerprint not in (other, model.fingerprint)


def test_another_template_is_another_setting(folder):
    plain = load_model(str(folder))
    template = (folder / "chat_template.jinja").read_text().replace("<image>\n", "<image>")
    other = load_model(str(folder), template=template)
    assert other.fingerprint == plain.fingerprint
    assert {key for key in plain.settings if plain.settings[key] != other.settings[key]} == {"template"}


def test_a_path_object_and_limits(folder):
    model = load_model(folder, device="cpu", batch_tokens=77)
    assert (model.batch_tokens, model.max_tokens, model.device, model.dtype) == (77, 2048, "cpu", "float32")


def test_checks_refuse_a_bidirectional_decoder(tiny_folder, monkeypatch):
    from transformers.models.llama import modeling_llama

    monkeypatch.setattr(modeling_llama, "create_causal_mask", lambda **_: None)
    monkeypatch.setattr(modeling_llama.LlamaAttention, "is_causal", False, raising=False)
    original = modeling_llama.LlamaAttention.__init__

    def bidirectional(self, *args, **kwargs):
        original(self, *args, **kwargs)
        self.is_causal = False

    monkeypatch.setattr(modeling_llama.LlamaAttention, "__init__", bidirectional)
    refused(tiny_folder("llava"), "an answer token sees the tokens behind it")
    assert load_model(str(tiny_folder("llava")), device="cpu", check=False)


def test_checks_refuse_gathered_rows_that_are_not_the_right_ones(tiny_folder, monkeypatch):
    from dataprophet.model.adapter import Adapter

    original = Adapter.logits
    monkeypatch.setattr(Adapter, "logits", lambda self, *of: original(self, *of).roll(1, 0))
    refused(tiny_folder("llava"), "gathered rows differ from plain ones", fused=False)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_checks_refuse_a_fused_head_that_differs_from_the_model(dtype, tiny_folder, monkeypatch):
    """Such as a family whose logits are bounded in a way that the head does not know of."""
    from dataprophet.model.head import Head

    original = Head.__init__

    def capped(self, *args, **kwargs):
        original(self, *args, **kwargs)
        self.softcap = 1.5

    monkeypatch.setattr(Head, "__init__", capped)
    line = refused(tiny_folder("llava"), "fused log-probabilities differ from plain ones", "fused=False", dtype=dtype)
    assert "nats in float32" in line  # in which half precision is checked, too
    assert load_model(str(tiny_folder("llava")), device="cpu", dtype=dtype, fused=False)


def test_a_head_that_is_not_linear_is_scored_by_its_own_logits(tiny_folder, tiny_model):
    from dataprophet.model import from_transformers
    from dataprophet.model.processor import load_processor

    class Twice(torch.nn.Module):
        def __init__(self, inner):
            super().__init__()
            self.inner = inner

        def forward(self, states):
            return self.inner(states)

    folder = tiny_folder("llava")
    network = transformers.AutoModelForImageTextToText.from_pretrained(folder, dtype="float32")
    processor = load_processor(str(folder), network.config)
    network.set_output_embeddings(Twice(network.get_output_embeddings()))
    with pytest.raises(ModelError, match=r"its output layer is a Twice, not a plain linear layer; .*fused=False"):
        from_transformers(network, processor)
    sample = Sample("a", [Image.new("RGB", (28, 28))], "what?", "red")
    [found] = from_transformers(network, processor, fused=False).logprobs([sample])
    assert abs(found - tiny_model("llava").logprobs([sample])[0]).max() < 1e-5


def test_checks_refuse_features_that_do_not_fit_the_image_tokens(tiny_folder, monkeypatch):
    from transformers.models.llava.modeling_llava import LlavaModel

    original = LlavaModel.get_image_features

    def halved(self, **inputs):
        output = original(self, **inputs)
        output.pooler_output = [part[::2] for part in output.pooler_output]
        return output

    halved.__signature__ = inspect.signature(original)
    monkeypatch.setattr(LlavaModel, "get_image_features", halved)
    refused(tiny_folder("llava"), "8 features for 16 image tokens")


def test_a_model_in_memory_scores_as_the_folder_does(tiny_folder, tiny_model):
    from dataprophet.model import from_transformers
    from dataprophet.model.processor import load_processor

    folder = tiny_folder("llava")
    network = transformers.AutoModelForImageTextToText.from_pretrained(folder, dtype="float32")
    processor = load_processor(str(folder), network.config)
    sample = Sample("a", [Image.new("RGB", (28, 28))], "what?", "red")
    model = from_transformers(network, processor, name="mine", batch_tokens=1024)
    assert (model.name, model.device, model.dtype) == ("mine", "cpu", "float32")
    assert model.settings == tiny_model("llava").settings
    assert (model.logprobs([sample])[0] == tiny_model("llava").logprobs([sample])[0]).all()
    again = from_transformers(network, processor, check=False)
    assert again.fingerprint == model.fingerprint
    with torch.no_grad():
        network.get_output_embeddings().weight[0, 0] += 1
    assert from_transformers(network, processor, check=False).fingerprint != model.fingerprint
    assert from_transformers(network, processor, check=False, fingerprint="v1").fingerprint == "v1"
    changed = from_transformers(network, processor, check=False).fingerprint
    processor.image_processor.image_mean = [0.4] * 3
    assert from_transformers(network, processor, check=False).fingerprint != changed
    with pytest.raises(ModelError, match="batch_tokens is 0"):
        from_transformers(network, processor, batch_tokens=0)
    with pytest.raises(ModelError, match="workers is -1"):
        from_transformers(network, processor, workers=-1)


@pytest.mark.slow
@pytest.mark.skipif(not os.environ.get("SOAK"), reason="takes minutes: make soak")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # torch.compile imports a part of torch that warns
# Of torch, on that release of Python alone, and about speed: 3.13.0 has a defect that torch works around.
@pytest.mark.filterwarnings(r"ignore:Guards may run slower on Python 3\.13\.0:RuntimeWarning")
def test_compiled_layers_score_alike(tiny_folder, tiny_model):
    sample = [Sample(str(i), [Image.new("RGB", (28, 28))], "what?" * i, "red") for i in range(1, 4)]
    model = load_model(str(tiny_folder("llava")), device="cpu", compile=True)
    for found, expected in zip(model.logprobs(sample), tiny_model("llava").logprobs(sample), strict=True):
        assert abs(found - expected).max() < 1e-5
