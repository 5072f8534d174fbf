"""Sections of the data: diversity with an example of each cluster, what the rows hold, and where it all comes from."""

from __future__ import annotations

import json
from typing import Any

from dataprophet.data.identity.compare import same_data
from dataprophet.data.sample import COUNTS
from dataprophet.errors import DataProphetError
from dataprophet.profiling.profile import Profile
from dataprophet.report.diversity import Clusters
from dataprophet.report.mixtures import Taken, wanted_rows
from dataprophet.report.page import Page
from dataprophet.report.samples import MOST_ROWS, Gallery, Look, Shown, look_through, reopened
from dataprophet.report.values import number

MOST_DRAWN = 24
"""Datasets whose clusters are drawn, and whose rows are read."""


def add_data(page: Page, groups: list[list[Taken]], gallery: Gallery) -> None:
    """Sections of diversity, quality and provenance; cards of the mixtures' rows are filled in as they are found."""
    items, looks, known, cards = list[dict[str, Any]](), dict[str, Look](), list[Profile](), list[Shown]()
    unread: dict[str, str] = {}
    for place, profile in enumerate(page.inputs.profiles()):
        try:
            item = _numbers(profile)
        except DataProphetError as error:  # such as too few samples for a diversity
            page.missing.append(f"Diversity: {error}")
            continue
        items.append(item)
        known.append(profile.seal() if profile.sketch is not None else profile)
        if place >= MOST_DRAWN:
            continue
        clusters, middles = Clusters.of(profile)
        for kind, rows in (
            ("clusters", clusters.sizes),
            ("silhouettes", clusters.silhouettes),
            ("projection", clusters.points),
        ):
            if rows:
                key = f"{kind}/{place}"
                page.figures.add(kind, key, rows, profile.name)
                item["figures"][kind] = key
        item["variance"] = f"{clusters.variance:.0%}"
        try:
            dataset = reopened(profile.name, profile.identity)
            wanted = wanted_rows(groups, profile.name, gallery)
            looks[profile.name] = look_through(dataset, gallery, wanted, middles.feed)
        except DataProphetError as error:
            unread[profile.name] = str(error)
        found = sorted(middles.nearest.items())
        item["cards"] = [gallery.card(sample, f"nearest to the middle of cluster {k}") for k, (_, sample) in found]
        cards += item["cards"]
    cards += [card for group in groups for each in group for card in each.cards.values() if card is not None]
    gallery.colour(cards)
    if gallery.model and any(profile.model != gallery.fingerprint for profile in known):
        page.warnings.append(f"tokens are coloured by {gallery.model}, which is not the model of the profiles")
    if items:
        beyond = len(items) - MOST_DRAWN
        page.section("diversity", "Diversity", {"items": items, "beyond": max(0, beyond), "most": MOST_DRAWN})
    _add_quality(page, known, looks, unread)
    _add_provenance(page, known)


def _numbers(profile: Profile) -> dict[str, Any]:
    """What the overview says of a profile."""
    error = profile.diversity_sums.clustering_error()
    line = [profile.name, f"{profile.n_samples:,}", f"{profile.n_tokens:,}" if profile.n_tokens else "-"]
    line += [
        number(value) for value in (profile.perplexity, profile.silhouette, profile.entropy, profile.diversity, error)
    ]
    return {"name": profile.name, "line": line, "figures": {}, "cards": []}


def _add_quality(page: Page, profiles: list[Profile], looks: dict[str, Look], unread: dict[str, str]) -> None:
    lines = []
    for profile in profiles:
        if not all(each.counts for each in profile.identity) or not profile.identity:
            continue
        counts = {name: sum(each.counts.get(name, 0) for each in profile.identity) for name in COUNTS}
        formats = ", ".join(dict.fromkeys(each.format for each in profile.identity))
        problems = looks[profile.name].problems if profile.name in looks else {}
        codes = ", ".join(f"{count:,} {code}" for code, count in sorted(problems.items()))
        numbers = [f"{counts[name]:,}" for name in COUNTS] + [f"{counts['rows'] - counts['good']:,}"]
        lines.append([profile.name, formats, *numbers, codes or "-"])
    matrix = page.inputs.matrix
    if matrix is not None:
        page.warnings += [f"{' and '.join(names)} were made of the same data" for names in same_data(matrix.identities)]
    said = []
    for name, look in looks.items():
        part = [] if look.whole else [f"the first {MOST_ROWS:,} rows were read for this page"]
        lines_of = [*look.guesses, *(f"warning: {line}" for line in look.warnings), *part]
        said += [[name, "; ".join(lines_of)]] * bool(lines_of)
    pool = page.inputs.pool
    statuses = sorted(pool.statuses.items(), key=lambda pair: (-pair[1], pair[0])) if pool is not None else []
    unscored = sorted(pool.unscored.items()) if pool is not None else []
    if not lines and not statuses:
        return
    values = {
        "lines": lines,
        "said": said,
        "unread": unread,
        "rejected": [card for look in looks.values() for card in look.first],
        "statuses": [[status, f"{count:,}"] for status, count in statuses],
        "unscored": [[target, f"{count:,}"] for target, count in unscored],
    }
    page.section("quality", "Data quality", values)


def _add_provenance(page: Page, profiles: list[Profile]) -> None:
    inputs = page.inputs
    lines, settings = [], dict[str, str]()
    for profile in profiles:
        data = (
            "; ".join(f"{each.path} ({each.kind}, digest {each.digest[:12]})" for each in profile.identity)
            or "not known"
        )
        lines.append([profile.name, profile.model_name or "-", profile.fingerprint, data])
        settings |= {"model": f"{profile.model_name} {profile.model[:16]}".strip(), **profile.settings}
    known: dict[str, Any] = {}
    if inputs.matrix is not None and not profiles:
        made_of = (pair for side in inputs.matrix.identities.values() for pair in side.items())
        lines = [[name, "-", "-", "; ".join(map(str, many)) or "not known"] for name, many in made_of]
    if inputs.pool is not None:
        config = inputs.pool.config
        known = {
            "pool": config.shown.get("path", config.name),
            "model": config.model_name or "-",
            "version": config.version,
        }
        known |= {"configuration": config.hash, "complete": "yes" if inputs.pool.complete else "no"}
    told = {**inputs.run, **known}
    digests: dict[str, str] = {}
    for kind, before in (("files", ""), ("mixtures", "mixtures/")):
        digests |= {f"{before}{name}": _words(value) for name, value in dict(told.pop(kind, {})).items()}
    if not (lines or told or settings):
        return
    values = {
        "lines": lines,
        "told": [[key, _words(value)] for key, value in told.items()],
        "settings": sorted(settings.items()),
        "digests": list(digests.items()),
        "recipe": inputs.recipe,
    }
    page.section("provenance", "Provenance", values)


def _words(value: Any) -> str:
    """What a run tells of itself, as text."""
    if isinstance(value, dict):
        return ", ".join(f"{key} {_words(item)}" for key, item in value.items())
    return value if isinstance(value, str) else json.dumps(value)
