"""``run``: from a recipe to profiles, matrix, rankings and mixtures in one folder; it goes on where it stopped."""

from __future__ import annotations

import hashlib
import json
import math
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from importlib import metadata
from pathlib import Path
from typing import Any

from dataprophet.data.identity.compare import Identity
from dataprophet.errors import BudgetError, DataError, MissingDependencyError, ModelError, ProfileError, checked
from dataprophet.files import write_text
from dataprophet.metric import matrix_csv
from dataprophet.metric.matrix import TransferMatrix
from dataprophet.metric.ranking import Ranked, Ranking
from dataprophet.metric.transfer import transfer_matrix
from dataprophet.profiling.profile import Profile
from dataprophet.report.build import write_report
from dataprophet.running.inputs import Input, open_inputs, placed, require_images
from dataprophet.running.output import MIXTURES, PROFILES, RANKINGS, REPORT, SCORES, Output
from dataprophet.running.reading import read_recipe
from dataprophet.running.recipe import Recipe, relative
from dataprophet.selection.mixture import Mixture, mix

Watch = Callable[[str], AbstractContextManager[Any]]
"""Makes the progress of a stage from its label; it is called with a count, and its ``of`` with that and the whole."""


@dataclass
class Run:
    """What a run came to.

    Attributes:
        folder: that of the results.
        recipe: what was asked for.
        profiles: by name, sources first.
        scores: the matrix.
        ranked: the matrix that rankings and mixtures are made of: without factors and sources that were left out.
        rankings: target -> sources, best first.
        mixtures: target -> mixture; of one that was there already what its manifest tells.
    """

    folder: Path
    recipe: Recipe
    profiles: dict[str, Profile]
    scores: TransferMatrix
    ranked: TransferMatrix
    rankings: dict[str, Ranking]
    mixtures: dict[str, Mixture] = field(default_factory=dict)


class _Quiet:
    """Progress that nobody sees."""

    def __call__(self, done: int) -> None:
        pass

    def of(self, done: int, total: int) -> None:
        pass


@checked()
def run(
    recipe: Recipe | str | os.PathLike[str] | Mapping[str, Any],
    *,
    overwrite: bool = False,
    fresh: bool = False,
    tell: Callable[[str], None] = lambda line: None,
    watch: Watch = lambda label: nullcontext(_Quiet()),
) -> Run:
    """Do what a recipe says, and write its results to its folder. The same call goes on where another one was stopped.

    Rows are read and checked before the model is loaded. What is unchanged is not computed again, and a stop at
    any time changes no byte of the results.

    Args:
        recipe: a YAML file, its content as plain values, or what was read of either.
        overwrite: replace the results of another recipe in that folder.
        fresh: compute everything anew.
        tell: called with a line for each stage, and for what was taken from an earlier run.
        watch: makes the progress of a stage.

    Raises:
        RecipeError: the recipe cannot be read or done; the message names the file, the line and the key.
        DataProphetError: a stage failed; what was done before it is kept.
    """
    known = recipe if isinstance(recipe, Recipe) else read_recipe(recipe)
    job = _Job(known, Output(known), tell, watch)
    with job.output.opened(overwrite=overwrite):
        if fresh:
            job.output.mixtures.clear()
            job.output.reported.unlink(missing_ok=True)
        inputs = open_inputs(known, job.output.cache, tell, fresh=fresh)
        job.output.begin()
        return job.run(inputs)


class _Job:
    """The stages of one run, each with its line."""

    def __init__(self, recipe: Recipe, output: Output, tell: Callable[[str], None], watch: Watch) -> None:
        self.recipe, self.output, self.tell, self.watch = recipe, output, tell, watch

    def run(self, inputs: Mapping[str, Input]) -> Run:
        """All stages, of datasets that were read."""
        recipe, output = self.recipe, self.output
        profiles = self.profiles(inputs)
        scores = self.scores(profiles)
        ranked = scores.within(
            max_nll=recipe.max_nll,
            nll_quantiles=recipe.nll_quantiles or None,
            min_answer_tokens=recipe.min_answer_tokens,
        )
        ranked = ranked.without(*recipe.without) if recipe.without else ranked
        rankings = {target: ranked.rank(target, level=recipe.level) for target in ranked.targets}
        matrix_csv.write(output.path(RANKINGS), _table(rankings))
        self.tell(f"ranked {len(ranked.sources)} sources for each target -> {output.path(RANKINGS)}")
        made = Run(output.folder, recipe, profiles, scores, ranked, rankings)
        model = {"name": recipe.model or "", "fingerprint": next(iter(profiles.values())).model}
        output.record(model)
        for target in scores.targets if recipe.budget is not None else ():
            made.mixtures[target] = self.mixture(inputs, scores, target)
            output.record(model)
        self.report()
        return made

    def profiles(self, inputs: Mapping[str, Input]) -> dict[str, Profile]:
        """Profiles by name; targets are made first, since they are small and may fail."""
        made: dict[str, Profile] = {}
        for name, each in sorted(inputs.items(), key=lambda item: item[1].key.startswith("sources")):
            with (
                placed(self.recipe, "model", ModelError),
                placed(self.recipe, each.key, DataError, ProfileError),
                self.watch(f"{name}: rows") as progress,
            ):
                profile = made[name] = each.work.profile(progress.of)
                _ = profile.diversity  # kept in the file, so that no later command has to compute it
            own, typed = profile.identity, relative(each.data.path, self.output.folder)
            profile.identity = _lying(own, typed, self.output.path(PROFILES))
            profile.save(self.output.path(PROFILES, f"{name}.profile"))
            profile.identity = tuple(replace(part, path=typed) for part in own)
            parts = f"Sil {profile.silhouette:.4f} + H {profile.entropy:.4f}"
            self.tell(f"profiled {name}: {profile.n_samples:,} samples, PPL {profile.perplexity:.4f}, {parts}")
            for problem in profile.problems.first:
                self.tell(f"left out: {problem}")
            if summary := profile.problems.summary():
                self.tell(f"warning: {name}: {summary}")
            if len(made) == 1:  # the model works, and the passes that take long come next
                require_images(self.recipe, inputs)
        return {name: made[name] for name in inputs}

    def scores(self, profiles: Mapping[str, Profile]) -> TransferMatrix:
        """The matrix, which is written, too."""
        sides = ([profiles[each.name] for each in many] for many in (self.recipe.sources, self.recipe.targets))
        with placed(self.recipe, "sources"):
            scores = transfer_matrix(*sides, fields=self.recipe.fields, factors=self.recipe.factors)
        lying = {
            side: {name: _lying(many, many[0].path, self.output.folder) if many else many for name, many in its.items()}
            for side, its in scores.identities.items()
        }
        place = self.output.path(SCORES)
        replace(scores, identities=lying).to_csv(place)
        self.tell(f"scored {len(scores.sources)} sources for {len(scores.targets)} targets -> {place}")
        for remark in scores.remarks():
            self.tell(f"warning: {remark}")
        return scores

    def mixture(self, inputs: Mapping[str, Input], scores: TransferMatrix, target: str) -> Mixture:
        """The mixture of a target, unless it is there and what it was made of has not changed."""
        sources = [inputs[name] for name in scores.sources]
        own = "format seed minimum temperature without max_nll min_answer_tokens max_bad"
        options: dict[str, Any] = {name: getattr(self.recipe, name) for name in own.split()}
        options["nll_quantiles"] = self.recipe.nll_quantiles or None
        options["capacity"] = [2**62 if each.data.capacity is None else each.data.capacity for each in sources]
        folder, budget = self.output.path(MIXTURES, target), self.recipe.budget or 0
        key = _made_of([target, budget, options], scores, target)
        if key and self.output.kept(target, key):
            self.tell(f"mixture for {target}: unchanged, {budget:,} rows in {folder}")
            return Mixture.load(folder)
        datasets = {each.data.name: each.rows for each in sources if each.rows is not None}
        with placed(self.recipe, "budget", BudgetError), self.watch(f"mixture for {target}: rows") as progress:
            mixture = mix(scores, target, budget, datasets, folder, overwrite=True, progress=progress, **options)
        self.output.made(target, key)
        for remark in mixture.remarks():
            self.tell(f"mixture for {target}: {remark}")
        self.tell(f"mixture for {target}: {budget:,} rows -> {folder}")
        return mixture

    def report(self) -> None:
        """The report of the folder, where its packages are installed and it is not there already."""
        place, reported = self.output.path(REPORT), self.output.reported
        if reported.is_file() and reported.read_text(encoding="utf-8") == self.output.report_state():
            self.tell(f"report: unchanged, {place}")
            return
        if reported.is_file():  # it is this folder's own, damaged or not
            place.unlink(missing_ok=True)
        try:
            write_report(self.output.folder, place)
        except MissingDependencyError as error:
            self.tell(f"no {REPORT}: {error}")
            return
        write_text(reported, self.output.report_state())
        self.tell(f"report -> {place}")


def _lying(identities: Sequence[Identity], path: str, folder: Path) -> tuple[Identity, ...]:
    """What was read, with its place as seen from a folder, where it was given so: folders move together."""
    if os.path.isabs(path) or path == identities[0].lies:
        return tuple(replace(each, path=path) for each in identities)
    return tuple(
        replace(each, path=path, lies=os.path.relpath(each.lies, os.path.realpath(folder))) for each in identities
    )


def _table(rankings: Mapping[str, Sequence[Ranked]]) -> Iterator[list[object]]:
    """One table of all rankings; what is not known stays empty."""
    yield ["target", "rank", "source", "score", "low", "high", "resolved"]
    for target, ranking in rankings.items():
        for place, each in enumerate(ranking, 1):
            numbers = ["" if math.isnan(number) else number for number in (each.score, each.low, each.high)]
            yield [target, place, each.source, *numbers, {True: "yes", False: "no", None: ""}[each.resolved]]


def _made_of(asked: Sequence[Any], scores: TransferMatrix, target: str) -> str:
    """Hash of all that a mixture follows from; empty where the content of a source is not known."""
    identities = [each for name in scores.sources for each in scores.identities["sources"].get(name, ())]
    if len(identities) < len(scores.sources) or any(not each.files or each.kind != "samples" for each in identities):
        return ""
    data = [[each.path, each.format, each.reading, each.digest, each.texts, each.counts] for each in identities]
    factors = {name: part[:, scores.column(target)].tolist() for name, part in scores.factors.items()}
    tokens = None if scores.answer_tokens is None else scores.answer_tokens.tolist()
    made_of = [metadata.version("dataprophet"), asked, scores.sources, factors, tokens, data]
    return hashlib.sha256(json.dumps(made_of, sort_keys=True).encode("utf-8", "surrogatepass")).hexdigest()
