"""The demo: draw datasets, profile them with the tiny model, rank the sources for each benchmark, write a mixture.

``dataprophet demo`` calls it; it uses the package as any user could.
"""

from __future__ import annotations

import importlib.util
import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from dataprophet.data import Dataset, open_dataset
from dataprophet.demo.datasets import SOURCES, write_datasets
from dataprophet.errors import MissingDependencyError, install
from dataprophet.files import MANIFEST, atomic_folder, sha256
from dataprophet.metric.matrix import TransferMatrix
from dataprophet.metric.transfer import transfer_matrix
from dataprophet.model import load_model
from dataprophet.profiling.build import profile
from dataprophet.profiling.profile import Profile
from dataprophet.report.pictures import save_heatmap
from dataprophet.selection.mixture import Mixture, mix

SOURCE_SAMPLES = 300
TARGET_SAMPLES = 150
LEFT_OUT = ("perplexity",)
"""Of the factors, what the mixture leaves out: with PPL(s), a source gets the more rows the more of it is wrong."""


@contextmanager
def _one_thread() -> Iterator[None]:
    """Torch on one thread: for a model this small more threads only wait for each other, minutes on a busy machine."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


@dataclass
class Demo:
    """What the demo found and wrote."""

    folder: Path
    sources: list[Profile]
    targets: list[Profile]
    scores: TransferMatrix
    mixture: Mixture

    def lesson(self) -> str:
        """What wrong answers do to a ranking through PPL(s), and why the mixture does without it."""
        target, spec = self.mixture.target, next(spec for spec in SOURCES if spec.wrong)
        clean = next(other.name for other in SOURCES if other.tasks == spec.tasks and not other.wrong)
        perplexity = {made.name: f"{made.perplexity:.3f}" for made in self.sources}
        orders = [(f"{target}, by M:", self.scores), ("without perplexity:", self.scores.without(*LEFT_OUT))]
        return "\n".join(
            [
                f"{spec.name} is drawn like {clean}, with the answers of other pictures in one row of {spec.wrong}:"
                f" PPL(s) {perplexity[spec.name]}, not {perplexity[clean]}",
                *(f"  {title:24} {', '.join(entry.source for entry in each.rank(target))}" for title, each in orders),
                "PPL(s) rewards noise, so the mixture is made without perplexity (mix --without perplexity):",
            ]
        )


def run_demo(
    out: str | os.PathLike[str],
    *,
    budget: int = 500,
    seed: int = 0,
    source_samples: int = SOURCE_SAMPLES,
    target_samples: int = TARGET_SAMPLES,
    overwrite: bool = False,
    say: Callable[[str], None] = lambda text: None,
) -> Demo:
    """Run the main job on drawn data and write datasets, profiles, scores, heatmap and mixture to a folder.

    Args:
        out: folder to write; it appears whole or not at all.
        budget: rows of the mixture, for the first benchmark.
        seed: of the datasets, and of the mixture's sampling.
        source_samples: samples in each source dataset.
        target_samples: samples in each benchmark.
        overwrite: replace an earlier demo.
        say: called with a line of text when a step is done.
    """
    _require_packages()
    with atomic_folder(out, overwrite=overwrite) as folder:
        drawn = write_datasets(folder / "datasets", seed=seed, n_source=source_samples, n_target=target_samples)
        say(f"drew {len(drawn.sources)} source datasets and {len(drawn.targets)} benchmarks")
        model = load_model("demo", device="cpu", dtype="float32")
        datasets: dict[str, Dataset] = {}
        profiles: dict[str, Profile] = {}
        with _one_thread():
            for written in (*drawn.targets, *drawn.sources):
                name = written.spec.name
                datasets[name] = open_dataset(written.path, name=name)
                made = profiles[name] = profile(datasets[name], model)
                _ = made.diversity  # kept in the file, so that the matrix need not cluster again
                at = os.path.relpath(written.path, folder)  # files hold no place, so that the folder may move
                made.identity = tuple(replace(each, path=at, lies=f"../{at}") for each in made.identity)
                made.save(folder / "profiles" / f"{name}.profile")
                left_out = f", {made.problems.summary()}" if len(made.problems) else ""
                say(
                    f"profiled {name} ({datasets[name].format}): {made.n_samples} samples, PPL {made.perplexity:.3f}, "
                    f"Sil {made.silhouette:.3f} + H {made.entropy:.3f}{left_out}"
                )
        sources, targets = ([profiles[entry.spec.name] for entry in part] for part in (drawn.sources, drawn.targets))
        scores = transfer_matrix(sources, targets)
        scores.identities = {
            side: {name: tuple(replace(each, lies=each.path) for each in many) for name, many in its.items()}
            for side, its in scores.identities.items()
        }
        scores.to_csv(folder / "scores.csv")
        save_heatmap(scores, folder / "heatmap.png", title="M(source -> target), demo model")
        mixed = {name: datasets[name] for name in scores.sources}
        mixture = mix(scores, scores.targets[0], budget, mixed, folder / "mixture", seed=seed, without=LEFT_OUT)
        mixture.folder = Path(out) / "mixture"
        files = {str(path.relative_to(folder)): sha256(path) for path in sorted(folder.rglob("*")) if path.is_file()}
        manifest = {"seed": seed, "budget": budget, "model": model.fingerprint, "files": files}
        (folder / MANIFEST).write_text(json.dumps(manifest, indent=1) + "\n", encoding="utf-8")
    return Demo(Path(out), sources, targets, scores, mixture)


def _require_packages() -> None:
    """Miss what is missing now, rather than at the step that needs it."""
    for package in ("PIL", "torch", "transformers", "altair", "vl_convert"):
        if importlib.util.find_spec(package) is None:
            fix = install("model", "report")
            raise MissingDependencyError(f"{package} is not installed", where="the demo", fix=fix)
