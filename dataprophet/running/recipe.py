"""The recipe of a run: every key with its type, default and meaning. ``reading`` makes one of a file or of arguments.

Options of ``dataprophet run`` and the table of docs/run.md are made of these fields. Nothing here imports what a run
needs.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from importlib import metadata
from typing import Any, Literal, TypeAlias

from dataprophet.errors import RecipeError

Field: TypeAlias = Literal["question", "answer", "image"]
_FIELDS: Any = ("question", "answer", "image")
HF, URL = "hf:", "://"


class Names(Collection[str]):
    """Our names, and behind them those that installed packages add by entry points: looked up when asked for."""

    def __init__(self, own: str, group: str) -> None:
        self.own, self.group = own.split(), group

    def __contains__(self, name: object) -> bool:
        return name in self.own or name in self._added()

    def __iter__(self) -> Iterator[str]:
        return iter([*self.own, *self._added()])

    def __len__(self) -> int:
        return len(self.own) + len(self._added())

    def _added(self) -> list[str]:
        return sorted(metadata.entry_points(group=self.group).names - {*self.own})


EXPORTS = Names("llava llamafactory swift webdataset huggingface trl verl ids", "dataprophet.exports")
"""Formats that are written."""


def _key(help: str, default: Any = None, *, path: bool = False, least: float | None = None, **bounds: Any) -> Any:
    """A field with what the recipe's reader, the options and the table say of it.

    Args:
        help: what it is.
        default: its default, ``...`` where it must be given.
        path: whether it names a file or folder, relative to the recipe's folder.
        least: the least number that it may be.
        bounds: ``above``, ``most`` and ``below``: further bounds of a number; ``choices``: the texts that it may be;
            ``free``: whether it changes no result.
    """
    facts = {"help": help, "path": path, "least": least, **bounds}
    if default is ...:
        return field(metadata=facts)
    if isinstance(default, dict):
        return field(default_factory=dict, metadata=facts)
    return field(default=default, metadata=facts)


@dataclass(frozen=True)
class Data:
    """One source or target. A text alone is a path, and ``NAME=PATH`` a path with a name."""

    path: str = _key("file, folder, URL or hf:NAME", ..., path=True)
    name: str = _key("its name in every result (default: from the path)", "")
    format: str = _key("format, or auto", "auto")
    columns: dict[str, str] = _key("our column -> the file's, such as question: query", {})  # noqa: RUF009
    subset: str | None = _key("dataset of a dataset_info.json, or configuration of a hub dataset")
    split: str | None = _key("split of a Hugging Face dataset, or of a folder of files whose names tell it")
    answer_is: str | None = _key("what answers beside options are: text, letter, index0 or index1 (default: found out)")
    image_root: tuple[str, ...] = _key("folders that image paths are relative to", (), path=True)
    allow_outside: bool = _key("allow image paths outside those folders", False)
    allow_urls: bool = _key("fetch images from http(s) addresses", False)
    max_pixels: int | None = _key("pixels of the largest image that is read (default: 89478485)", least=1)
    limit: int | None = _key("rows to read", least=0)
    features: bool = _key("path holds precomputed features, and the recipe's model is their label", False)
    rows: str | None = _key("of features of a source: the dataset that its rows for mixtures come from", path=True)
    capacity: int | None = _key("of a source: most rows in a mixture", least=0)

    def reading(self) -> dict[str, Any]:
        """Arguments of ``open_dataset`` beside path and name."""
        names = "format columns subset split answer_is allow_outside allow_urls limit"
        given = {name: getattr(self, name) for name in names.split()} | {"image_root": list(self.image_root) or None}
        return given if self.max_pixels is None else {**given, "max_pixels": self.max_pixels}


@dataclass(frozen=True)
class Recipe:
    """What a run does. Paths are relative to the folder that the process works in, whatever file they came from.

    Attributes:
        places: key, such as ``sources.0.path`` -> where it was said, for messages.
    """

    sources: tuple[Data, ...] = _key("datasets to choose among", ...)
    targets: tuple[Data, ...] = _key("benchmarks to choose for", ...)
    out: str = _key("folder of the results", ..., path=True)
    model: str | None = _key("name, local folder or demo; of features, a label")
    budget: int | None = _key("rows of each mixture (default: no mixtures)", least=1)
    format: str = _key(f"of the mixtures: {', '.join(EXPORTS.own[:-1])} or ids", "llava", choices=EXPORTS)
    temperature: float = _key("weights are M^(1/temperature): above 1 more even, below 1 sharper", 1.0, above=0)
    minimum: int = _key("least rows of every source in a mixture", 0, least=0)
    seed: int = _key("of the sampling of rows", 0)
    without: tuple[str, ...] = _key("factors to leave out of rankings and mixtures, such as ISim or perplexity", ())
    max_nll: float | None = _key("leave out sources with a mean negative log-likelihood above so many nats")
    nll_quantiles: tuple[float, ...] = _key("leave out sources outside these two quantiles of it, as [0.05, 0.9]", ())
    min_answer_tokens: int | None = _key("leave out sources with fewer answer tokens in the mean", least=0)
    level: float = _key("level of the intervals of rankings", 0.95, above=0, below=1)
    max_bad: float = _key("largest share of a dataset's rows that cannot be used", 0.05, least=0, most=1)
    fields: tuple[Field, ...] = _key("similarities in the product", _FIELDS)
    factors: tuple[str, ...] = _key("further factors in the product, which installed packages add", ())
    clusters: int = _key("clusters of the diversity", 10, least=1)
    sketch_size: int | Literal["all"] = _key("samples for the diversity, or all", 20_000, least=1)
    diversity_fields: tuple[Field, ...] = _key("fields of the diversity", _FIELDS)
    diversity_seed: int = _key("of the k-means", 0, least=0)
    device: str = _key("auto, cpu, cuda or cuda:N", "auto")
    dtype: str = _key("auto, float32, bfloat16 or float16", "auto")
    revision: str | None = _key("revision of a model from the hub")
    trust_remote_code: bool = _key("run code that comes with the model", False)
    batch_tokens: int | None = _key("padded tokens of a batch (default: by device)", least=1)
    workers: int | None = _key("threads that prepare batches (default: by device)", least=0)
    compile: bool = _key("torch.compile the layers: for large datasets", False)
    memory: str | None = _key(
        "what each worker may take beside the model, such as 8G, at least 1G (default: 4G)", free=True
    )
    template: str | None = _key("chat template in the place of the model's own, a .jinja file", path=True)
    processor: dict[str, Any] = _key("arguments of the processor, such as max_pixels: 200704", {})  # noqa: RUF009
    score_terminator: bool = _key("count the end-of-turn token as part of each answer", False)
    plain_head: bool = _key("score by the model's own logits, rounded to its dtype", False)
    engine: Literal["local", "ray"] = _key("what runs the shards: local or ray", "local", free=True)
    processes: int | None = _key("worker processes; 0 works in this one (default: by device)", least=0, free=True)
    threads: int | None = _key("CPU threads of each worker (default: of all cores)", least=1)
    ray_address: str | None = _key("of a running Ray cluster (default: start one here)", free=True)
    ray_option: dict[str, Any] = _key("options of each Ray actor, such as num_gpus: 0.5", {}, free=True)  # noqa: RUF009
    cache: str | None = _key("folder to work in (default: in the folder of the results)", path=True, free=True)
    places: Mapping[str, str] = field(default_factory=dict, compare=False, repr=False)

    @property
    def data(self) -> dict[str, Data]:
        """All sources and targets, by their place in the recipe."""
        sides = (("sources", self.sources), ("targets", self.targets))
        return {f"{side}.{number}": each for side, many in sides for number, each in enumerate(many)}

    @property
    def of_features(self) -> bool:
        """Whether everything was computed before, so that no model is needed."""
        return all(each.features for each in self.data.values())

    def place(self, key: str) -> str:
        """Where a key was said, or that which holds it."""
        while key and key not in self.places:
            key = key.rpartition(".")[0]
        return self.places.get(key, "recipe")

    def error(self, what: str, key: str, fix: str) -> RecipeError:
        """An error that names the place of a key."""
        return RecipeError(what, where=self.place(key), fix=fix)

    def loading(self) -> dict[str, Any]:
        """Arguments of ``load_model`` beside the name, as far as they are not its defaults."""
        names = "device dtype revision trust_remote_code batch_tokens workers compile memory template processor"
        given = {name: getattr(self, name) for name in [*names.split(), "score_terminator"]}
        if self.template:
            given["template"] = os.path.abspath(self.template)  # workers may run elsewhere
        chosen = {key: value for key, value in given.items() if value not in ("auto", None, {}) and value is not False}
        return chosen | ({"fused": False} if self.plain_head else {})

    def moved(self, place: Callable[[str], str], is_folder: Callable[[str], bool] = os.path.isdir) -> Recipe:
        """The recipe with every path of a file or folder put through a function; names and URLs stay.

        Args:
            place: the function.
            is_folder: whether the model is a folder, and not a name.
        """
        there = replace(self, model=place(self.model)) if self.model and is_folder(self.model) else self
        sides = {side: tuple(_moved(each, place) for each in getattr(there, side)) for side in ("sources", "targets")}
        made: Recipe = replace(_moved(there, place), **sides)
        return made

    def to_dict(self) -> dict[str, Any]:
        """All keys, with plain values."""
        made: dict[str, Any] = _plain(asdict(replace(self, places={})))
        del made["places"]
        return made


def _moved(part: Any, place: Callable[[str], str]) -> Any:
    changed: dict[str, Any] = {}
    for each in fields(part):
        value = getattr(part, each.name)
        if each.metadata.get("path") and value:
            changed[each.name] = tuple(map(place, value)) if isinstance(value, tuple) else place(value)
    return replace(part, **changed)


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, tuple | list) else value


def joined(folder: str, path: str) -> str:
    """A path of a recipe in a folder, as this process finds it."""
    return path if path.startswith(HF) or URL in path else os.path.join(folder, path)


def relative(path: str, folder: str | os.PathLike[str]) -> str:
    """A path as seen from a folder; whole paths, URLs and names stay as they are."""
    stays = path.startswith(HF) or URL in path or os.path.isabs(path)
    return path if stays else os.path.relpath(os.path.abspath(path), os.path.realpath(folder))
