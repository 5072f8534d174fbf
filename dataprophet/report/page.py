"""The page: sections of what was found, in their order, as one HTML file that needs no network.

A section is a template beside this file and the values that it shows. Nothing that data holds is markup here: templates
escape all texts, the data of the charts is JSON, and the page's policy runs no script but its own two.
"""

from __future__ import annotations

import base64
import functools
import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any

from dataprophet.report import charts
from dataprophet.report.inputs import Inputs
from dataprophet.report.palette import DARK, LIGHT, STEPS, declarations
from dataprophet.report.values import as_script

Columns = dict[str, list[Any]]
"""Name of a column -> its values: what a chart draws, and the table beside it."""

_TEMPLATES = Path(__file__).with_name("templates")


@dataclass
class Figures:
    """The charts of a report: their specifications, the rows that they draw, and the name of each as a file."""

    charts: dict[str, dict[str, Any]] = field(default_factory=dict)
    rows: dict[str, Columns] = field(default_factory=dict)
    files: list[tuple[str, str, str]] = field(default_factory=list)

    def add(
        self, kind: str, key: str, rows: Columns, name: str = "", spec: Callable[[], dict[str, Any]] | None = None
    ) -> None:
        """A chart of a kind and its rows.

        Args:
            kind: of ``CHARTS``, or any other name with a specification.
            key: of the rows.
            rows: columns.
            name: of what is drawn, for the file.
            spec: makes the specification, where ``CHARTS`` has none.
        """
        if kind not in self.charts:
            self.charts[kind] = (spec or charts.CHARTS[kind])()
        self.rows[key] = rows
        self.files.append((f"{kind}-{name}" if name else kind, kind, key))


@dataclass
class Page:
    """Sections, and what they show.

    Attributes:
        inputs: what the report is made of.
        figures: its charts.
        contents: id, which is the template's name, and heading of each section.
        values: what templates are given.
        warnings: what makes the results doubtful.
        missing: what is not there, and what would add it.
    """

    inputs: Inputs
    figures: Figures = field(default_factory=Figures)
    contents: list[tuple[str, str]] = field(default_factory=list)
    values: dict[str, Any] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.missing += self.inputs.missing

    def section(self, id: str, heading: str, values: Any) -> None:
        """Add a section; its template finds the values under its id."""
        self.contents.append((id, heading))
        self.values.setdefault(id, values)


def html(page: Page) -> bytes:
    """The file. The same page gives the same bytes."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined
    from markupsafe import Markup

    environment = Environment(
        loader=FileSystemLoader(_TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    scores = page.values.get("scores")
    told: dict[str, Any] = {"charts": page.figures.charts, "rows": page.figures.rows}
    told |= {name: scores[name] if scores else [] for name in ("targets", "factors")}
    told["most"] = {"QSim": 1, "ASim": 1, "ISim": 1, "Sil+H": 2}
    scripts = [_library(), (_TEMPLATES / "page.js").read_text(encoding="utf-8")]
    hashes = [base64.b64encode(hashlib.sha256(each.encode()).digest()).decode() for each in scripts]
    made: str = environment.get_template("page.html.jinja").render(
        {"scores": None, **page.values},
        title=page.inputs.title,
        contents=page.contents,
        warnings=page.warnings,
        missing=page.missing,
        version=metadata.version("dataprophet"),
        steps=STEPS,
        light=Markup(declarations(LIGHT)),
        dark=Markup(declarations(DARK)),
        css=Markup((_TEMPLATES / "page.css").read_text(encoding="utf-8")),
        allowed=Markup(" ".join(f"'sha256-{each}'" for each in hashes)),
        data=Markup(as_script(told)),
        library=Markup(scripts[0]),
        script=Markup(scripts[1]),
    )
    return made.encode("utf-8", "replace")  # half of a surrogate pair, which JSON may hold


@functools.cache
def _library() -> str:
    """Vega, Vega-Lite and vega-embed as one script."""
    charts.altair()
    import vl_convert

    bundle: str = vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;")
    return bundle.replace("</script", "<\\/script").replace("<!--", "<\\!--").replace("\r\n", "\n")
