"""Loads a model's processor for images only, with or without torchvision.

`load` calls it. It knows transformers' processors, not the model.
"""

from __future__ import annotations

import contextlib
import importlib.metadata
import importlib.util
import inspect
from collections.abc import Mapping
from typing import Any, ClassVar

from dataprophet.errors import MissingDependencyError, ModelError, explained
from dataprophet.model.reasons import load_error

# Arguments of a call rather than of a processor.
_CALLS = {"data_format", "device", "disable_grouping", "input_data_format", "return_tensors"}


class NoVideo:
    """Stands where a processor expects its video processor, which cannot exist without torchvision.

    Images never reach it; the attributes are those that processors read while they are built or render a chat.
    """

    merge_size = 2
    temporal_patch_size = 2
    num_frames = fps = slice_mode = downsample_mode = None
    model_input_names: ClassVar[list[str]] = []


def has_torchvision() -> bool:
    """Whether torchvision is there and works with the installed torch.

    Raises:
        MissingDependencyError: torchvision is there but does not match torch, which breaks
            every processor of transformers.
    """
    if importlib.util.find_spec("torchvision") is None:
        return False
    try:
        importlib.import_module("torchvision")
    except Exception as error:  # a mismatch surfaces as RuntimeError, OSError, ImportError or AttributeError
        version = "of unknown version"
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            version = importlib.metadata.version("torchvision")
        what = f"torchvision {version} does not work with torch {importlib.metadata.version('torch')} ({error})"
        fix = "install the torchvision that belongs to this torch, or remove it: pip uninstall torchvision"
        raise MissingDependencyError(what, where="torchvision", fix=fix) from error
    return True


def _processor_class(path: str, config: Any, **hub: Any) -> Any:
    """The processor class that AutoProcessor would choose, without building a video processor."""
    import transformers
    from transformers.models.auto.processing_auto import PROCESSOR_MAPPING
    from transformers.processing_utils import ProcessorMixin

    named = None
    with contextlib.suppress(OSError):
        settings, _ = ProcessorMixin.get_processor_dict(path, **hub)
        named = getattr(transformers, settings.get("processor_class") or "", None)
    return named or PROCESSOR_MAPPING.get(type(config), None)


def _image_only(cls: Any) -> Any:
    """A subclass of the processor class ``cls`` that is loaded with `NoVideo` in the place of a video processor."""

    class ImageOnly(cls):  # type: ignore[misc]
        @classmethod
        def get_attributes(klass) -> Any:
            return cls.get_attributes()

        def check_argument_for_proper_class(self, argument_name: str, argument: Any) -> Any:
            if isinstance(argument, NoVideo):
                return NoVideo
            return super().check_argument_for_proper_class(argument_name, argument)

        def to_dict(self) -> dict[str, Any]:  # transformers logs it as JSON
            return {name: part for name, part in super().to_dict().items() if not isinstance(part, NoVideo)}

        @classmethod
        def _get_arguments_from_pretrained(klass, path: Any, processor_dict: Any = None, **kwargs: Any) -> list[Any]:
            from transformers import AutoImageProcessor, AutoTokenizer

            parts = {"tokenizer": AutoTokenizer, "image_processor": AutoImageProcessor}
            return [
                parts[name].from_pretrained(path, **kwargs) if name in parts else NoVideo()
                for name in klass.get_attributes()
            ]

    ImageOnly.__name__, ImageOnly.__qualname__ = cls.__name__, cls.__qualname__
    return ImageOnly


def load_processor(path: str, config: Any, **kwargs: Any) -> Any:
    """The processor of the model at ``path`` (a folder or a hub name).

    Args:
        path: folder or hub name.
        config: the model's configuration, already loaded.
        kwargs: passed on to transformers (``revision``, ``trust_remote_code``).

    Raises:
        ModelError: the folder holds no usable processor.
        MissingDependencyError: torchvision is broken, or the processor needs a package that is missing.
    """
    from transformers import AutoProcessor

    torchvision = has_torchvision()
    try:
        cls = None if torchvision else _processor_class(path, config, revision=kwargs.get("revision"))
        if cls is not None and "video_processor" in cls.get_attributes():
            return _image_only(cls).from_pretrained(path, **kwargs)
        processor = AutoProcessor.from_pretrained(path, **kwargs)
    except Exception as error:
        fix = "check its tokenizer and preprocessor files: its processor's save_pretrained writes them"
        raise load_error(error, "its processor cannot be loaded", path, fix) from error
    if not hasattr(processor, "image_processor") or not hasattr(processor, "tokenizer"):
        fix = "use a model that takes images and text, with its preprocessor_config.json"
        raise ModelError(f"it has a {type(processor).__name__} and no image processor", where=path, fix=fix)
    return processor


def with_exact_offsets(processor: Any, where: str) -> Any:
    """The processor, its tokenizer set to cut nothing off: no text beyond a length, no white space of offsets.

    Raises:
        ModelError: the tokenizer tells no offsets.
    """
    tokenizer = getattr(processor.tokenizer, "backend_tokenizer", None)
    if tokenizer is None:
        what = f"its tokenizer, a {type(processor.tokenizer).__name__}, does not tell where tokens stand in the text"
        raise ModelError(what, where=where, fix="add its tokenizer.json")
    tokenizer.no_truncation()
    tokenizer.no_padding()
    after = tokenizer.post_processor
    state = after.__getstate__().decode() if after else ""
    if '"trim_offsets":true' in state:
        after.__setstate__(state.replace('"trim_offsets":true', '"trim_offsets":false').encode())
        tokenizer.post_processor = after
    return processor


def configure(processor: Any, settings: Mapping[str, Any], where: str) -> None:
    """Sets arguments of a processor or of its image processor, in place.

    Args:
        processor: the processor.
        settings: values by name; a dot reaches into a dictionary, as in ``size.longest_edge``.
        where: the model's name, for messages.

    Raises:
        ModelError: there is no such argument, or it does not take the value.
    """
    from PIL import Image
    from transformers.image_processing_utils import BaseImageProcessor

    images, cls = processor.image_processor, type(processor)
    valid = set(type(images).valid_kwargs.__annotations__)
    extra = valid - set(BaseImageProcessor.valid_kwargs.__annotations__)  # which may be unset, as in min_pixels
    values = {name: value for name, value in images.to_dict().items() if name in valid - _CALLS and value is not None}
    known: dict[str, Any] = dict.fromkeys(extra) | values
    tables = {name: value for name, value in values.items() if isinstance(value, dict)}
    known |= {f"{name}.{key}": old for name, table in tables.items() for key, old in table.items()}
    parts = {*cls.get_attributes(), "chat_template"}
    own = (set(inspect.signature(cls.__init__).parameters) & set(vars(processor))) - parts
    known |= {name: getattr(processor, name) for name in own if not name.endswith("_token")}
    for name, value in settings.items():
        if name not in known:
            what, fix = f"its processor has no argument {name!r}", f"use one of {', '.join(sorted(known))}"
            raise ModelError(what, where=where, fix=fix)
        if known[name] is not None and isinstance(known[name], str) != isinstance(value, str):
            what = f"its processor's {name} is {value!r}"
            raise ModelError(what, where=where, fix=f"give a value such as {known[name]!r}")
        key, _, inner = name.partition(".")
        if inner:
            values[key] = {**values[key], inner: value}
        elif key in valid:
            values[key] = value
        if key in own:
            setattr(processor, key, value)
    shown = ", ".join(f"{name}={value}" for name, value in settings.items())
    with explained(Exception, ModelError, f"its processor does not take {shown}", where, "use other values"):
        processor.image_processor = type(images).from_dict(images.to_dict() | values)
        processor(text=[processor.image_token], images=[[Image.new("RGB", (64, 48))]])


def image_backend(processor: Any) -> str:
    """``pil`` or ``torchvision``: what resizes the images. Pixels differ by up to 0.015 between them."""
    return "pil" if type(processor.image_processor).__name__.endswith("Pil") else "torchvision"
