"""Loads a model in a process of its own and tells what it is, so that the driver holds neither weights nor a device."""

from __future__ import annotations

import gc
import json
import os
import subprocess
import sys
import warnings
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from dataprophet.errors import DataProphetError, ModelError, ModelWarning
from dataprophet.files import absolute
from dataprophet.scoring.folder.config import RunConfig

if TYPE_CHECKING:
    from dataprophet.model import Model


def open_model(arguments: Mapping[str, Any], threads: int | None) -> Model:
    """Load a model, to compute with so many threads of the CPU; None leaves that to torch."""
    from dataprophet.model import load_model

    if threads:
        import torch

        torch.set_num_threads(threads)
    return load_model(**arguments)


def numbers_of(model: Model) -> dict[str, str]:
    """What changes the rounding of a model's numbers, beside its settings."""
    import torch

    on_cpu = model.device == "cpu"
    return {
        "device": "cpu" if on_cpu else torch.cuda.get_device_name(model.device),
        "batch_tokens": str(model.batch_tokens),
        "sharing": model.sharing,
        "threads": str(torch.get_num_threads()) if on_cpu else "",
    }


def origin_of(model: Any) -> dict[str, Any]:
    """Fingerprint, settings and rounding of a loaded model."""
    return {"fingerprint": model.fingerprint, "settings": model.settings, "numbers": numbers_of(model)}


def label_origin(label: str) -> dict[str, Any]:
    """The same for features that were computed before, of which a label is known."""
    return {"fingerprint": label, "settings": {}, "numbers": {}}


def model_arguments(model: str | os.PathLike[str], loading: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments of ``load_model`` for another process: a folder by its whole path."""
    return {"name": "demo" if str(model) == "demo" else absolute(str(model)), **loading}


def probe(arguments: Mapping[str, Any], threads: int | None) -> dict[str, Any]:
    """What ``origin_of`` gives for a model that a child process loads and forgets.

    Args:
        arguments: of ``load_model``.
        threads: threads of the CPU that it computes with; None as many as torch takes.

    Raises:
        ModelError: the model cannot be loaded; the message is the child's.
    """
    command, given = [sys.executable, "-P", "-m", "dataprophet.scoring.model_origin"], [dict(arguments), threads]
    done = subprocess.run(command, input=json.dumps(given), capture_output=True, text=True, check=False)
    try:
        answer: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    except (IndexError, ValueError):
        last = (done.stderr.strip().splitlines() or [f"exit status {done.returncode}"])[-1]
        raise ModelError(f"it cannot be loaded ({last})", where=str(arguments.get("name"))) from None
    for line in answer.pop("told", ()):
        warnings.warn(ModelWarning(line), stacklevel=2)
    if "what" in answer:
        raise ModelError(answer["what"], where=answer["where"], fix=answer["fix"])
    return answer


class NamedModel:
    """A model by its name, for one pass or several: loaded in this process once, and only if one of them computes.

    Attributes:
        name: as it was typed.
        arguments: of ``load_model``, for any process.

    Args:
        name: what ``load_model`` takes.
        loading: further arguments of it.
    """

    def __init__(self, name: str, loading: Mapping[str, Any]) -> None:
        self.name, self.arguments = name, model_arguments(name, loading)
        self._loaded: Model | None = None
        self._origin: dict[str, Any] | None = None

    def load(self, threads: int | None) -> Model:
        """The model, in this process."""
        if self._loaded is None:
            self._loaded = open_model(self.arguments, threads)
        return self._loaded

    def unload(self) -> None:
        """Give its memory back."""
        if self._loaded is not None:
            import torch

            self._loaded = None
            gc.collect()
            torch.cuda.empty_cache()  # does nothing where there is no device

    def origin(self, threads: int | None, *, here: bool) -> dict[str, Any]:
        """What ``origin_of`` gives, by loading it here, or else in a child process."""
        if self._origin is None:
            self._origin = origin_of(self.load(threads)) if here else probe(self.arguments, threads)
        return self._origin


def require_origin(config: RunConfig, model: Model) -> None:
    """Refuse a model other than the one that the run began with.

    Raises:
        DataProphetError: naming what differs.
    """
    mine = {"model": model.fingerprint, **model.settings, **numbers_of(model)}
    its = {"model": config.fingerprint, **config.settings, **config.numbers}
    # a batch budget that memory has halved since is no other configuration
    differs = sorted(key for key in its if mine.get(key) != its[key] and not (key == "batch_tokens" and model.splits))
    for key in differs[:1]:
        now, then = mine.get(key, "unset"), its[key]
        if key == "model":
            now, then = f"{model.name} {model.fingerprint[:16]}", config.told("fingerprint")
        what = f"{key} is {now}, and the run began with {then}"
        fix = "resume on the same kind of machine, or score into another folder"
        raise DataProphetError(what, where=model.name, fix=fix)


def main() -> None:
    """Read arguments as JSON from standard input, write the answer, or the error, to standard output."""
    arguments, threads = json.load(sys.stdin)
    with warnings.catch_warnings(record=True) as told:
        try:
            answer = origin_of(open_model(arguments, threads))
        except DataProphetError as error:
            answer = error.to_dict()
    answer["told"] = [str(warning.message) for warning in told if issubclass(warning.category, ModelWarning)]
    print(json.dumps(answer))


if __name__ == "__main__":
    main()
