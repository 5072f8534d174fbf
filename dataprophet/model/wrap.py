"""A scorer around a transformers model and its processor."""

from __future__ import annotations

import importlib.metadata
import inspect
import os
from pathlib import Path
from typing import Any

from dataprophet.errors import ModelError
from dataprophet.model.adapter import Adapter
from dataprophet.model.chat import Chat
from dataprophet.model.compiled import compile_layers
from dataprophet.model.encode import Encoder
from dataprophet.model.fingerprint import network_fingerprint, text_fingerprint
from dataprophet.model.model import Model
from dataprophet.model.processor import image_backend
from dataprophet.model.self_check import self_check

# On a CPU a larger batch is no faster: it pads more, and its activations leave the caches.
_BATCH_TOKENS = {"cpu": 1024, "cuda": 32768}


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
) -> Model:
    """A scorer around a model that is in memory already, on the device and in the dtype that it has there.

    Args:
        network: a transformers image-text-to-text model. It is put in evaluation mode.
        processor: its processor.
        name: the model's name, in messages and profiles.
        fingerprint: what tells it from other models; by default a digest of its configuration, all its weights,
            tokenizer and image processor.
        batch_tokens: as in `load_model`.
        check: as in `load_model`.
        template: as in `load_model`.
        score_terminator: as in `load_model`.
        fused: as in `load_model`.
        share: as in `load_model`.
        workers: as in `load_model`.
        compile: as in `load_model`.

    Raises:
        ModelError: the model is not of a kind that can be scored, or fails a check.
    """
    import torch

    config = network.config
    takes_features = "mm_encoder_outputs" in inspect.signature(network.forward).parameters
    if not takes_features or getattr(config, "image_token_id", None) is None:
        raise ModelError(
            f"family {config.model_type!r} is not supported: it has no image tokens to put vision features on",
            where=name,
            fix="use one of the families the manual names",
        )
    if batch_tokens is not None and batch_tokens < 1:
        raise ModelError(f"batch_tokens is {batch_tokens}", where=name, fix="give a positive number of tokens")
    if workers is not None and workers < 0:
        raise ModelError(f"workers is {workers}", where=name, fix="give a number of threads, or 0 for none")
    chat = Chat(processor, template=_template(template), score_terminator=score_terminator, where=name)
    if compile:
        compile_layers(network)
    adapter = Adapter(network.eval(), where=name, fused=fused)
    adapter.branches &= not chat.uses_suffix  # there, attention over the prompt is bidirectional
    model = Model(
        adapter,
        Encoder(chat),
        name=name,
        fingerprint=fingerprint or network_fingerprint(network, processor),
        settings={
            "dtype": str(adapter.dtype).removeprefix("torch."),
            "attention": str(getattr(config, "_attn_implementation", "unknown")),
            "template": text_fingerprint(chat.template),
            "terminator": "scored" if score_terminator else "not scored",
            "image_backend": image_backend(processor),
            "pooling": "content-mean",
            "head": "fused" if fused else "plain",
            "torch": str(torch.__version__),  # a subclass of str that compares as a version
            "transformers": importlib.metadata.version("transformers"),
        },
        max_tokens=_max_tokens(config, processor),
        batch_tokens=batch_tokens or _BATCH_TOKENS.get(adapter.device.type, 1024),
        share=share,
        workers=_workers(adapter.device.type) if workers is None else workers,
    )
    if check:
        self_check(model)
    return model


def _workers(device: str) -> int:
    """Threads beside the device's work. On the CPU the model needs all cores itself."""
    return 0 if device == "cpu" else min(8, max(1, len(os.sched_getaffinity(0)) - 1))


def _template(template: str | None) -> str | None:
    if template is None or not template.endswith(".jinja"):
        return template
    try:
        return Path(template).read_text(encoding="utf-8")
    except OSError as error:
        raise ModelError(f"cannot be read ({error.strerror})", where=template, fix="give a readable file") from error


def _max_tokens(config: Any, processor: Any) -> int:
    limits = (getattr(config.get_text_config(), "max_position_embeddings", None), processor.tokenizer.model_max_length)
    return min(int(limit) for limit in limits if limit)
