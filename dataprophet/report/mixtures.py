"""Mixtures: what each takes of the sources, and rows of the highest, the middle and the lowest of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from dataprophet.data.sample import Conversation
from dataprophet.errors import DataProphetError, explained
from dataprophet.report.page import Page
from dataprophet.report.samples import Gallery, Shown
from dataprophet.report.values import number

_ROWS = 4
"""Rows of a source that are shown."""


@dataclass
class Taken:
    """Rows of one source in a mixture, those that come first there: id -> card, None until it is found."""

    heading: str
    source: str
    cards: dict[str, Shown | None] = field(default_factory=dict)

    def take(self, gallery: Gallery, row: Conversation) -> None:
        """The row, when it goes by."""
        self.cards[row.id] = gallery.row(row, "")


def add_mixtures(page: Page) -> list[list[Taken]]:
    """The section of the mixtures, if there are any.

    Returns:
        For each mixture what is to be shown of its rows.
    """
    shown, groups = list[dict[str, Any]](), list[list[Taken]]()
    for place, manifest in enumerate(page.inputs.mixtures):
        with explained(
            (KeyError, TypeError, AttributeError), DataProphetError, "damaged", "mixture manifest", "mix again"
        ):
            target, budget, sources = str(manifest["target"]), int(manifest["budget"]), list(manifest["sources"])
            rows: dict[str, list[Any]] = {name: [] for name in ("source", "M", "available", "taken", "share", "bad")}
            for each in sources:
                bad = sum(each["left_out"].values())
                line = (
                    each["name"],
                    float(each["score"]),
                    each["available"],
                    each["taken"],
                    each["taken"] / max(budget, 1),
                    bad,
                )
                for column, value in zip(rows.values(), line, strict=True):
                    column.append(value)
            groups.append(_taken([str(name) for name in rows["source"]], manifest["ids"]))
        if dropped := ", ".join(manifest.get("without", [])):
            page.warnings.append(
                f"the mixture for {target!r} was made without {dropped}; scores and rankings here are with"
            )
        key = f"mixture/{place}"
        page.figures.add("mixture", key, rows, target)
        cells = zip(*rows.values(), strict=True)
        lines = [
            [name, number(m), f"{of:,}", f"{taken:,}", f"{part:.1%}", f"{bad:,}"]
            for name, m, of, taken, part, bad in cells
        ]
        told = {
            "left out as noise": ", ".join(manifest.get("left_out", [])),
            "without": ", ".join(manifest.get("without", [])),
        }
        limits = {
            name: manifest.get(name)
            for name in ("minimum", "temperature", "max_nll", "nll_quantiles", "min_answer_tokens", "seed")
        }
        asked = {
            name: value
            for name, value in {**told, **limits}.items()
            if value not in ("", None) and (name, value) not in (("minimum", 0), ("temperature", 1))
        }
        shown.append(
            {
                "target": target,
                "budget": f"{budget:,}",
                "key": key,
                "lines": lines,
                "asked": asked,
                "groups": groups[-1],
            }
        )
    if shown:
        page.section("mixtures", "Mixture" if len(shown) == 1 else "Mixtures", shown)
    return groups


def _taken(sources: list[str], ids: list[str]) -> list[Taken]:
    """The first rows of the highest, the middle and the lowest source, by their order in the mixture."""
    places = dict.fromkeys([0, len(sources) // 2, len(sources) - 1])
    words = {0: "Highest source", len(sources) - 1: "Lowest source"}
    chosen = [Taken(words.get(place, "Middle source"), sources[place]) for place in places if sources]
    for each in chosen:
        prefix, longer = f"{each.source}/", [name for name in sources if name.startswith(f"{each.source}/")]
        own = (name.removeprefix(prefix) for name in ids if name.startswith(prefix))
        for name in own:
            if len(each.cards) == _ROWS:
                break
            if not any(f"{each.source}/{name}".startswith(f"{other}/") for other in longer):
                each.cards[name] = None
    return chosen


def wanted_rows(
    groups: list[list[Taken]], source: str, gallery: Gallery
) -> Mapping[str, Callable[[Conversation], None]]:
    """Id of a row -> what to do with it, for a source."""
    found: dict[str, list[Taken]] = {}
    for each in (each for group in groups for each in group if each.source == source):
        for name in each.cards:
            found.setdefault(name, []).append(each)
    return {name: partial(_take, several, gallery) for name, several in found.items()}


def _take(several: list[Taken], gallery: Gallery, row: Conversation) -> None:
    for each in several:
        each.take(gallery, row)
