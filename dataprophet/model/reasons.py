"""Why a model cannot be loaded or scored: the true cause of what other packages raise, and the fix.

`load` and `processor` call it. It knows folders, configurations and error messages; it loads nothing.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

from dataprophet.errors import DataProphetError, MissingDependencyError, ModelError, explained, first_line, pip_install

ADAPTER = "adapter_config.json"
_OTHER_WEIGHTS = (".bin", ".pt", ".pth", ".ckpt", ".h5", ".msgpack", ".gguf")
_TOKENIZERS = ("tokenizer.json", "tekken.json", "vocab.json", "vocab.txt", "*.model", "*.model.v*", "*.tiktoken")
PROCESSORS = (*_TOKENIZERS, "processor_config.json", "preprocessor_config.json", "chat_template.*")
"""Patterns of the files that a processor is read from."""

_UNAVAILABLE = re.compile(r"(torchvision)|need to have (sentencepiece)", re.IGNORECASE)
_PACKAGE = re.compile(r"pip install ['\"`]?(\w[\w.-]*)|requires the (\w+) library|No module named '(\w+)")
MERGE = (
    "merge it: PeftModel.from_pretrained(base, folder).merge_and_unload().save_pretrained(new folder), and save the "
    "processor there"
)


def check_folder(folder: Path, where: str) -> None:
    """Refuses a folder that lacks a part of a model, before anything is loaded.

    Raises:
        ModelError: naming the part.
    """
    if not folder.is_dir():
        raise ModelError("it is not a folder with a model", where=where, fix="give the folder, not a file in it")
    if not (folder / "config.json").is_file():
        raise ModelError("the folder has no config.json", where=where, fix="give a folder that save_pretrained wrote")
    if not any(path for path in folder.glob("*.safetensors") if not path.name.startswith("adapter_")):
        others = sorted(file.name for file in folder.iterdir() if file.suffix in _OTHER_WEIGHTS)
        if others:
            what = f"its weights are in {others[0]}; only safetensors are loaded, other formats can run code"
            fix = "convert them with save_pretrained(..., safe_serialization=True) where you trust their source"
            raise ModelError(what, where=where, fix=fix)
        raise ModelError("the folder has no *.safetensors", where=where, fix="download the weights into the folder")
    if (folder / ADAPTER).is_file():
        _check_adapter(folder, where)
    if not holds_any(folder, _TOKENIZERS):
        fix = "put the tokenizer's files there, such as tokenizer.json: its processor's save_pretrained writes them"
        raise ModelError("the folder has no tokenizer", where=where, fix=fix)


def _check_adapter(folder: Path, where: str) -> None:
    if not (folder / "adapter_model.safetensors").is_file():
        what, fix = "it holds an adapter without adapter_model.safetensors, the only kind of weights loaded", MERGE
        raise ModelError(what, where=where, fix=fix)


def base_of(folder: Path, where: str) -> Path | None:
    """The folder of the base model of a folder that holds an adapter and no whole model; None for other folders.

    ``base_model_name_or_path`` is looked for as a path, from the folder and from where the process runs, and then, with
    the ``revision`` that stands beside it, in the cache of the hub. Nothing is downloaded.

    Raises:
        ModelError: the adapter is damaged or names no base model, or that is not there.
    """
    if (folder / "config.json").is_file() or not (folder / ADAPTER).is_file():
        return None
    _check_adapter(folder, where)
    with explained((OSError, ValueError), ModelError, f"its {ADAPTER} cannot be read", where, MERGE):
        settings = json.loads((folder / ADAPTER).read_text(encoding="utf-8"))
    name = settings.get("base_model_name_or_path") if isinstance(settings, dict) else None
    if not isinstance(name, str) or not name:
        what, fix = f"it is an adapter, and its {ADAPTER} names no base model", "add base_model_name_or_path to it"
        raise ModelError(what, where=where, fix=fix)
    for path in (folder / Path(name).expanduser(), Path(name).expanduser()):
        if path.is_dir():
            check_folder(path, f"{where}, its base model {path}")
            return path.resolve()
    from huggingface_hub import snapshot_download

    with suppress(OSError, ValueError):  # no name of the hub, or nothing of that name in the cache
        path = Path(snapshot_download(name, revision=settings.get("revision"), local_files_only=True))
        check_folder(path, f"{where}, its base model {name}")
        return path
    what = f"it is an adapter for the base model {name!r}, which is neither a folder nor in the cache"
    fix = f"`hf download {name}`, or write the base model's folder into {ADAPTER}; or {MERGE}"
    raise ModelError(what, where=where, fix=fix)


def holds_any(folder: Path, patterns: Iterable[str]) -> bool:
    """Whether a folder holds a file of one of these patterns."""
    return any(next(folder.glob(pattern), None) for pattern in patterns)


def unsupported(config: Any) -> tuple[str, str] | None:
    """Why models of a family cannot be scored, and what to do; None for those that may."""
    text = getattr(config, "text_config", None) or config
    family, use = f"family {config.model_type!r} is not supported", "use one of the families that docs/model.md names"
    if hasattr(config, "thinker_config"):
        part = f"{type(config).__name__.removesuffix('Config')}ThinkerForConditionalGeneration"
        fix = f"save that part as a model: {part}.from_pretrained(name).save_pretrained(folder), and its processor"
        return f"{family} as a whole: only its thinker reads images and writes text", fix
    if getattr(config, "is_encoder_decoder", False) or getattr(text, "is_encoder_decoder", False):
        return f"{family}: it is an encoder-decoder, whose answers do not continue the text of the question", use
    if hasattr(config, "num_query_tokens"):
        return f"{family}: its processor puts all images before the text, not where they belong", use
    if config.model_type == "shieldgemma2":
        return f"{family}: its processor asks its own questions, whether a picture keeps to its policies", use
    if hasattr(config, "canvas_length"):
        return f"{family}: it writes answers by diffusion, a block at once, not each token behind those before it", use
    if getattr(text, "cross_attention_layers", None) or getattr(config, "cross_layer_interval", None):
        return f"{family}: its images reach the text through cross-attention, not as tokens of it", use
    return None


def unset_argument(processor: Any, config: Any) -> tuple[str, str] | None:
    """What an older processor's files lack to count image tokens (LLaVA), and how to say it; None where nothing is."""
    for name, holder in (("patch_size", "vision_config"), ("vision_feature_select_strategy", None)):
        if vars(processor).get(name, "unknown") is None:
            value = getattr(getattr(config, holder) if holder else config, name, "VALUE")
            return f"its processor_config.json has no {name}", f"add it there, or --processor {name}={value}"
    if not getattr(processor, "image_token", None):
        fix = "use one of the families that docs/model.md names"
        return "its processor has no token that stands for an image in the text", fix
    return None


def load_error(error: BaseException, what: str, where: str, fix: str) -> DataProphetError:
    """What another package raised while it loaded a part of a model; a package that is missing is named."""
    package = _missing_package(error)
    if not package:
        return ModelError(f"{what} ({first_line(error)})", where=where, fix=fix)
    belongs = ", the release that belongs to the installed torch" if package == "torchvision" else ""
    what = f"{what} without the package {package} ({first_line(error)})"
    return MissingDependencyError(what, where=where, fix=f"{pip_install([package])}{belongs}")


def weights_error(error: Exception, config: Any, where: str) -> DataProphetError:
    """Why weights were not loaded."""
    said, what = str(error).lower(), "its weights cannot be loaded"
    fix = "check that the folder is complete and that its config.json belongs to its weights"
    if quantised := getattr(config, "quantization_config", None):
        method = quantised.get("quant_method") if isinstance(quantised, dict) else quantised.quant_method
        what = f"its weights are quantised ({getattr(method, 'value', method)}) and cannot be loaded here"
        fix = "use the checkpoint that is not quantised"
    elif type(error).__name__ == "SafetensorError":
        what, fix = "its weights cannot be loaded: a file is damaged or cut short", "download the safetensors again"
    elif isinstance(error, FileNotFoundError):
        what, fix = "its weights cannot be loaded: a file is missing", "download the safetensors again"
    elif "safetensors" in said and isinstance(error, OSError):
        fix = "only safetensors are loaded: use a version of the model that has them"
    elif isinstance(error, MemoryError) or "memory" in said:
        what, fix = "its weights do not fit into memory", "use a smaller dtype or model"
    return load_error(error, what, where, fix)


def _missing_package(error: BaseException | None) -> str:
    """The package, as pip calls it, whose absence an error speaks of; empty where it speaks of none."""
    while error is not None:
        said = str(error)
        if match := _PACKAGE.search(said) if isinstance(error, ImportError) else _UNAVAILABLE.search(said):
            return str(next(filter(None, match.groups()))).lower()
        error = error.__cause__
    return ""
