"""A model whose device sleeps: so many seconds for each sample, during which other threads run.

Where DATAPROPHET_SLEEP_LOG names a file, it gets a line for each batch: when it began (nanoseconds), and its samples.
"""

from __future__ import annotations

import importlib.abc
import importlib.util
import os
import sys
import time
from typing import Any


def asleep(model: Any, seconds: float) -> Any:
    """The model with a device that sleeps. Its features are those of the input's shape, the same for all samples."""
    import torch

    adapter, width = model._adapter, model._width
    log = os.open(os.environ.get("DATAPROPHET_SLEEP_LOG", os.devnull), os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    def states(batch: Any, vision: Any) -> Any:
        os.write(log, f"{time.time_ns()} {len(batch.members)}\n".encode())
        time.sleep(seconds * len(batch.members))
        return torch.ones((len(batch.targets), width))

    adapter.vision = lambda batch: object() if batch.pixels else None
    adapter.image_means = lambda batch, vision: torch.ones((len(batch.image_tokens), width))
    adapter.states = states
    adapter.logprobs = lambda states, targets: -torch.ones(len(targets))
    adapter.text_means = lambda batch: torch.ones((len(batch.counts), width))
    return model


def install(seconds: float) -> None:
    """Have every model that this process loads sleep."""

    class Finder(importlib.abc.MetaPathFinder):
        def find_spec(self, name: str, path: Any = None, target: Any = None) -> Any:
            if name != "dataprophet.model.load":
                return None
            sys.meta_path.remove(self)
            spec = importlib.util.find_spec(name)
            assert spec is not None
            run = spec.loader.exec_module

            def exec_module(module: Any) -> None:
                run(module)
                load = module.load_model
                module.load_model = lambda *args, **options: asleep(load(*args, **options), seconds)

            spec.loader.exec_module = exec_module
            return spec

    sys.meta_path.insert(0, Finder())
