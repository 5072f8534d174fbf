"""Loads a model by name, from a folder, from memory or the one that ships, and refuses what cannot be scored.

The package's users and its commands call it. It knows transformers and files, no samples.
"""

from __future__ import annotations

import contextlib
import importlib.metadata
import inspect
import os
import sys
import types
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dataprophet.errors import MissingDependencyError, ModelError, checked, explained, install
from dataprophet.model.adapter import Adapter
from dataprophet.model.batching import Batcher
from dataprophet.model.chat import Chat
from dataprophet.model.encode import Encoder
from dataprophet.model.fingerprint import folder_fingerprint, hub_fingerprint, network_fingerprint, text_fingerprint
from dataprophet.model.memory import USUAL, Budget
from dataprophet.model.model import Model
from dataprophet.model.processor import (
    configure,
    has_torchvision,
    image_backend,
    load_processor,
    with_exact_offsets,
)
from dataprophet.model.reasons import (
    ADAPTER,
    MERGE,
    PROCESSORS,
    base_of,
    check_folder,
    holds_any,
    load_error,
    unset_argument,
    unsupported,
    weights_error,
)
from dataprophet.model.self_check import self_check

DEMO_FOLDER = Path(__file__).resolve().parent.parent / "demo" / "model"
_DTYPES = ("float32", "bfloat16", "float16", "float64")
# On a CPU a larger batch is no faster: it pads more, and its activations leave the caches.
_BATCH_TOKENS = {"cpu": 1024, "cuda": 32768}
_WRONG = "check that processor, tokenizer and weights belong together; or use a family that docs/model.md names"
_LOGITS = 1 << 28  # elements of logits per batch, where they are stored: 1 GiB in float32


@checked()
def load_model(
    name: str | Path = "demo",
    *,
    device: str = "auto",
    dtype: str = "auto",
    revision: str | None = None,
    trust_remote_code: bool = False,
    batch_tokens: int | None = None,
    check: bool = True,
    template: str | None = None,
    score_terminator: bool = False,
    processor: Mapping[str, Any] | None = None,
    fused: bool = True,
    share: bool = True,
    workers: int | None = None,
    compile: bool = False,
    memory: int | str = USUAL,
) -> Model:
    """Loads a multimodal language model for scoring. Only safetensors are read.

    Args:
        name: ``demo``, a local folder, or a name on the Hugging Face hub.
        device: ``auto`` (CUDA if there is one), ``cpu``, ``cuda`` or ``cuda:N``.
        dtype: ``auto`` (bfloat16 on CUDA, float32 on CPU), ``float32``, ``bfloat16``, ``float16`` or ``float64``.
        revision: branch, tag or commit of a hub model.
        trust_remote_code: run Python code that comes with the model.
        batch_tokens: bound on the padded tokens of a batch; 1024 on CPU and 32768 on CUDA unless given.
        check: run the start-up checks (a few forward passes over two small samples).
        template: Jinja text, or a ``.jinja`` file, to use in the place of the model's chat template.
        score_terminator: count the end-of-turn token as part of each answer.
        processor: arguments of the processor or its image processor in the place of those in the model's files, such as
            ``{"min_pixels": 3136, "max_pixels": 200704}`` or ``{"size.longest_edge": 512}``.
        fused: take log-probabilities from hidden states and the output layer's weights, accumulated in float32, rather
            than from the model's own logits, which are rounded to its dtype.
        share: compute once what samples with the same images, or the turns of a conversation, have in common.
        workers: threads that decode pictures and make the next batches while the device works; by default up to 8 on
            CUDA and 0, everything in turn, on the CPU.
        compile: compile the model's layers with torch.compile, which takes a minute or more and pays on large pools.
        memory: bytes that reading, decoding and tokenising may take beside the model, or a text such as ``8G``; 4 GiB
            unless given. No number depends on it: a sample that does not fit is refused as ``out_of_memory``.

    Raises:
        ModelError: the model is missing, is not multimodal, or fails a check; the device, dtype or an argument of the
            processor does not exist.
        MissingDependencyError: torch, transformers or Pillow is missing or unusable, or torchvision does
            not match torch.
    """
    _require()
    from transformers.utils import logging

    name = where = str(name)
    target = _device(device)
    if dtype == "auto":
        dtype = "bfloat16" if target.startswith("cuda") else "float32"
    if dtype not in _DTYPES:
        raise ModelError(f"unknown dtype {dtype!r}", where="dtype", fix=f"use auto, {', '.join(_DTYPES)}")
    has_torchvision()
    path, folder = _locate(name)
    base = folder and base_of(folder, name)
    hub: dict[str, Any] = {"trust_remote_code": trust_remote_code, "revision": revision}
    with contextlib.ExitStack() as quiet:  # without transformers' progress bars, and reports of what is refused here
        if logging.get_verbosity() == logging.WARNING:  # the usual one
            logging.set_verbosity_error()
            quiet.callback(logging.set_verbosity_warning)
        if logging.is_progress_bar_enabled():
            logging.disable_progress_bar()
            quiet.callback(logging.enable_progress_bar)
        weights = str(base) if base else path
        config = _config(weights, where, hub)
        loaded = load_processor(path if folder and holds_any(folder, PROCESSORS) else weights, config, **hub)
        if processor:
            configure(loaded, processor, where)
        network = _network(weights, config, where, dtype, hub, adapter=path)
    fix = "use a smaller dtype, a smaller model or another device"
    with explained((RuntimeError, AssertionError), ModelError, f"it cannot be put on {target}", where, fix):
        network = network.eval().to(target)
    model = from_transformers(
        network,
        loaded,
        name=folder.name if folder and name != "demo" else name,
        fingerprint=folder_fingerprint(folder, base) if folder else hub_fingerprint(name, config),
        batch_tokens=batch_tokens,
        check=check,
        template=template,
        score_terminator=score_terminator,
        fused=fused,
        share=share,
        workers=workers,
        compile=compile,
        memory=memory,
    )
    if processor:
        model.settings["processor"] = ", ".join(f"{name}={value}" for name, value in sorted(processor.items()))
    return model


def from_transformers(
    network: Any,
    processor: Any,
    *,
    name: str = "model",
    fingerprint: str | None = None,
    batch_tokens: int | None = None,
    check: bool = True,
    template: str | None = None,
    score_terminator: bool = False,
    fused: bool = True,
    share: bool = True,
    workers: int | None = None,
    compile: bool = False,
    memory: int | str = USUAL,
) -> Model:
    """A `Model` around one that is in memory already, on the device and in the dtype that it has there.

    Args:
        network: a transformers image-text-to-text model. It is put in evaluation mode.
        processor: its processor. Its tokenizer is set to cut nothing off: no truncation, padding or trimmed offsets.
        name: the model's name, in messages and profiles.
        fingerprint: what tells it from other models; by default a digest of its configuration, all its weights,
            tokenizer and image processor, taken now: after further training call this again.
        batch_tokens: as in `load_model`.
        check: as in `load_model`.
        template: as in `load_model`.
        score_terminator: as in `load_model`.
        fused: as in `load_model`.
        share: as in `load_model`.
        workers: as in `load_model`.
        compile: as in `load_model`.
        memory: as in `load_model`.

    Raises:
        ModelError: the model is not of a kind that can be scored, or fails a check.
    """
    import torch

    config, budget = network.config, Budget.of(memory)
    takes_features = "mm_encoder_outputs" in inspect.signature(network.forward).parameters
    if reason := unsupported(config):
        raise ModelError(reason[0], where=name, fix=reason[1])
    if not takes_features or getattr(config, "image_token_id", None) is None:
        why = "it has no image tokens" if takes_features else f"{type(network).__name__} takes no vision features"
        what = f"family {config.model_type!r} is not supported: {why}"
        raise ModelError(what, where=name, fix="use one of the families that docs/model.md names")
    fused = fused and network.base_model is not network  # else nothing gives hidden states: its own logits are taken
    for option, value, least in (("batch_tokens", batch_tokens, 1), ("workers", workers, 0)):
        if value is not None and value < least:
            raise ModelError(f"{option} is {value}", where=name, fix=f"give {least} or more")
    if template is not None and template.endswith(".jinja"):
        with explained(OSError, ModelError, "cannot be read", template, "give a readable file"):
            template = Path(template).read_text(encoding="utf-8")
    # Processors, templates and models raise whatever they like.
    with explained(Exception, ModelError, "it cannot be scored", name, _WRONG):
        if reason := unset_argument(processor, config):
            raise ModelError(reason[0], where=name, fix=reason[1])
        processor = with_exact_offsets(processor, name)
        _check_tokens(network, processor, name)
        chat = Chat(processor, template=template, score_terminator=score_terminator, where=name)
        if compile:
            _compile_layers(network)
        adapter = Adapter(network.eval(), where=name, fused=fused)
        text_config, device = config.get_text_config(), adapter.device.type
        stored = sys.maxsize if fused else max(1, _LOGITS // int(text_config.vocab_size))
        limits = (getattr(text_config, "max_position_embeddings", None), processor.tokenizer.model_max_length)
        most = min(int(limit) for limit in limits if limit)
        encoder = Encoder(chat, adapter.image_token_id)
        batcher = Batcher(adapter, encoder, share, most, stored, budget, mixes=not adapter.picks)
        # Everything beside the fingerprint that changes numbers: profiles are compared by it.
        settings = {
            "dtype": str(adapter.dtype).removeprefix("torch."),
            "attention": str(getattr(config, "_attn_implementation", "unknown")),
            "template": text_fingerprint("\0".join([chat.template, *chat.probes])),
            "terminator": "scored" if score_terminator else "not scored",
            "image_backend": image_backend(processor),
            "pooling": "content-mean",
            "head": "fused" if fused else "plain",
            "torch": str(torch.__version__),  # a subclass of str that compares as a version
            "transformers": importlib.metadata.version("transformers"),
            **({"clock": chat.clock} if chat.clock else {}),
        }
        if workers is None:  # on the CPU the model needs all cores itself
            workers = 0 if device == "cpu" else min(8, max(1, len(os.sched_getaffinity(0)) - 1))
        fingerprint = fingerprint or network_fingerprint(network, processor)
        batch_tokens = batch_tokens or _BATCH_TOKENS.get(device, 1024)
        model = Model(batcher, fingerprint=fingerprint, settings=settings, batch_tokens=batch_tokens, workers=workers)
        if check:
            self_check(model)
    return model


def _require() -> None:
    """torch, transformers and Pillow, in versions that work."""
    fix = install("model")
    for package in ("torch", "transformers", "PIL"):
        what = f"{package} is needed to run a model and cannot be imported"
        with explained(ImportError, MissingDependencyError, what, "load_model", fix):
            importlib.import_module(package)
    version = importlib.metadata.version("transformers")
    if not (5, 23) <= tuple(int(part) for part in version.split(".")[:2]) < (6,):
        what = f"transformers {version} is installed; this package works with 5.23 or later and below 6"
        raise MissingDependencyError(what, where="load_model", fix=fix)


def _device(device: str) -> str:
    import torch

    if device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    kind, found = None, torch.cuda.device_count()
    with contextlib.suppress(RuntimeError, TypeError):
        kind = torch.device(device)
    if kind is None or kind.type not in ("cpu", "cuda"):
        raise ModelError(f"unknown device {device!r}", where="device", fix="use auto, cpu, cuda or cuda:N")
    if kind.type == "cuda" and (kind.index or 0) >= found:
        what = f"device {device!r} was asked for and torch {torch.__version__} sees {found} CUDA devices"
        fix = "use auto or cpu, or install a torch built for this machine's CUDA"
        raise ModelError(what, where="device", fix=fix)
    return device


def _locate(name: str) -> tuple[str, Path | None]:
    """What to hand to transformers, and the folder if it is one. A folder is checked before anything is loaded."""
    folder = DEMO_FOLDER if name == "demo" else Path(name).expanduser()
    if name != "demo" and not folder.exists():
        if name.count("/") > 1 or name.startswith((".", "/", "~")):
            raise ModelError("there is no such folder", where=name, fix="give a model's folder or its name on the hub")
        return name, None
    if base_of(folder, name) is None:
        check_folder(folder, name)
    return str(folder.resolve()), folder.resolve()


def _config(path: str, where: str, hub: dict[str, Any]) -> Any:
    from transformers import AutoConfig
    from transformers.models.auto.modeling_auto import MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING

    try:
        config = AutoConfig.from_pretrained(path, **hub)
    except Exception as error:
        fix = "check the name, the network and, for a gated model, `hf auth login`; or give a local folder"
        if "trust_remote_code" in str(error):
            what = "it comes with its own Python code, which is not run unless asked"
            fix = "read that code, then pass trust_remote_code=True; or take its -hf version"
            raise ModelError(what, where=where, fix=fix) from error
        if Path(path).is_dir():
            fix = "its config.json is damaged, or of a family that the installed transformers does not know"
        raise load_error(error, "its configuration cannot be read", where, fix) from error
    if reason := unsupported(config):
        raise ModelError(reason[0], where=where, fix=reason[1])
    remote = "AutoModelForImageTextToText" in getattr(config, "auto_map", {}) and hub["trust_remote_code"]
    if type(config) not in MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING and not remote:
        fix = "use a model that takes images and text, such as OpenGVLab/InternVL3-2B-hf"
        raise ModelError(f"it is a {config.model_type!r} model, which takes no images", where=where, fix=fix)
    return config


def _network(path: str, config: Any, where: str, dtype: str, hub: dict[str, Any], *, adapter: str) -> Any:
    """The transformers model on the CPU, with every weight found in the files, and with the adapter that is there.

    ``adapter`` is the folder or hub name that may hold one; mostly it is ``path`` itself.
    """
    from transformers import AutoModelForImageTextToText
    from transformers.utils import find_adapter_config_file

    options = {"dtype": dtype, "use_safetensors": True, "output_loading_info": True, **hub}
    options["ignore_mismatched_sizes"] = True  # to name the weight
    options["adapter_kwargs"] = {"subfolder": "none"}  # alone at first: with an adapter, it would tell of that one only
    adapted = find_adapter_config_file(adapter, revision=hub["revision"]) is not None
    if adapted:  # without peft, transformers would leave it out without a word
        what, fix = f"it holds an adapter ({ADAPTER}), which needs peft", install("peft")
        fix += f"; or merge the adapter; or delete {ADAPTER} to score the base model alone"
        with explained(ImportError, MissingDependencyError, what, where, fix):
            importlib.import_module("peft")
    try:
        network, info = AutoModelForImageTextToText.from_pretrained(path, config=config, **options)
    except Exception as error:  # safetensors, torch, peft and transformers each raise their own
        raise weights_error(error, config, where) from error
    if mismatched := sorted(info["mismatched_keys"]):
        name, found, expected = mismatched[0]
        what = f"its weights have other shapes than its config.json says: {name!r} has {tuple(found)}, not "
        fix = "use the config.json that belongs to these weights"
        raise ModelError(f"{what}{tuple(expected)}", where=where, fix=fix)
    if missing := sorted(info["missing_keys"]):
        what = f"its files lack {len(missing)} weights, the first {missing[0]!r}, which would be random"
        raise ModelError(what, where=where, fix="download the model again, all of its safetensors")
    if adapted:
        _adapt(network, adapter, where, hub["revision"])
    return network


def _adapt(network: Any, adapter: str, where: str, revision: str | None) -> None:
    """Puts an adapter into the layers of a transformers model; every weight of it must find its place."""
    what, fix = "its adapter cannot be applied", f"check that the adapter is of this model; or {MERGE}"
    with explained(Exception, ModelError, what, where, fix):  # peft and torch each raise their own
        info = network.load_adapter(adapter, adapter_kwargs={"revision": revision}).to_dict()
    kinds = {"no layer takes": "unexpected_keys", "it lacks": "missing_keys", "of another shape is": "mismatched_keys"}
    for why, kind in kinds.items():
        for key in sorted(info[kind]):
            raise ModelError(f"its adapter was not applied: {why} {key!r}", where=where, fix=fix)


def _check_tokens(network: Any, processor: Any, where: str) -> None:
    """Refuses a tokenizer without the image token, or with tokens that the model neither embeds nor replaces."""
    tokenizer, fix = processor.tokenizer, "use the tokenizer files that belong to these weights"
    if tokenizer.convert_tokens_to_ids(processor.image_token) in (None, tokenizer.unk_token_id):
        raise ModelError(f"its tokenizer does not know its image token {processor.image_token!r}", where=where, fix=fix)
    rows, config = network.get_input_embeddings().weight.shape[0], network.config
    replaced = {getattr(config, f"{kind}_token_id", None) for kind in ("image", "video", "audio")}
    numbers = set(tokenizer.added_tokens_decoder) | {tokenizer.backend_tokenizer.get_vocab_size(False) - 1}
    if (largest := max(numbers - replaced)) >= rows:
        what = f"its tokenizer has token {largest}, {tokenizer.convert_ids_to_tokens(largest)!r}, and its embedding "
        raise ModelError(f"{what}only {rows} rows", where=where, fix=fix)


def _compile_layers(network: Any) -> None:
    """Compiles the repeated layers of a transformers model, in place: those of the decoder and of the vision tower.

    Layers of a kind share their compiled code, so that it takes about as long as one layer of each kind does. Shapes
    are symbolic; some variants (a single row, rows without padding, and so on) are compiled when they first come.
    """
    import torch

    for module in network.modules():
        if isinstance(module, torch.nn.ModuleList) and len(module) > 1 and len(set(map(type, module))) == 1:
            for layer in module:
                # transformers wraps the forward of all kinds in one function, whose compiled variants would mix.
                forward = inspect.unwrap(type(layer).forward)
                layer.forward = torch.compile(types.MethodType(forward, layer), dynamic=True)
