"""The charts, as Vega-Lite through Altair. Each draws the columns that it is given, whatever they hold.

Colours are those of the page, ``var(--name)``; ``palette.in_light`` gives a picture its own. The page draws one
specification with many sets of rows, so that a specification holds no data.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from dataprophet.errors import MissingDependencyError, install
from dataprophet.report.palette import CLUSTERS

ROWS = "rows"
"""Name of the data that a specification draws."""

LABELLED = 40
"""Points above this number have no names beside them."""

_DIGITS = ".4g"
_TIMES = [1e-3, 0.01, 0.1, 0.2, 0.5, 0.7, 0.8, 0.9, 1, 1.1, 1.25, 1.5, 2, 5, 10, 100, 1e3]
_SHAPES = ("circle", "square", "triangle-up", "diamond", "cross")


def altair() -> Any:
    """The package, or an error that says how to get it."""
    try:
        import altair
        import jinja2  # noqa: F401
        import vl_convert  # noqa: F401
    except ImportError as error:
        what, fix = "charts need Altair, vl-convert-python and Jinja2", install("report")
        raise MissingDependencyError(what, where="report", fix=fix) from error
    return altair


def finished(chart: Any, width: int | str | None = None) -> dict[str, Any]:
    """The specification of a chart in the look of the page."""
    font = {"font": "system-ui, -apple-system, 'Segoe UI', Helvetica, Arial, sans-serif"}
    soft, ink = "var(--soft)", "var(--ink)"
    label = {"labelColor": soft, "titleColor": soft, "labelFontSize": 12, "titleFontSize": 12, "titleFontWeight": 400}
    axis = {**label, "gridColor": "var(--line)", "domainColor": "var(--line)", "tickColor": "var(--line)"}
    config = {
        **font,
        "background": "transparent",
        "aria": False,  # the page describes each chart, and gives its rows as a table
        "view": {"stroke": None},
        "axis": {**axis, "labelLimit": 170, "labelSeparation": 6, "tickCount": 6},
        "bar": {"discreteBandSize": {"band": 0.72}},
        "axisYBand": {"labelColor": ink},
        "legend": {**label, "labelColor": ink, "symbolStrokeColor": ink},
        "header": {**label, "labelColor": ink, "labelFontWeight": 600},
        "text": {"color": ink, "fontSize": 12},
    }
    made: dict[str, Any] = chart.to_dict()
    if width is not None:
        made["width"] = width
    return {**made, "config": config}


def _tips(alt: Any, *names: str) -> list[Any]:
    """Tooltips of columns; a name that begins with ``#`` is of a number."""
    return [
        alt.Tooltip(field=name[1:], type="quantitative", format=_DIGITS, title=name[1:])
        if name[0] == "#"
        else alt.Tooltip(field=name, type="nominal", title=name)
        for name in names
    ]


def ranking() -> dict[str, Any]:
    """Bars of M with their intervals; what is not resolved from the next is pale and marked ``~``."""
    alt = altair()
    y = alt.Y("source:N", sort=None, title=None)
    base = alt.Chart(alt.NamedData(ROWS)).encode(y=y, tooltip=_tips(alt, "source", "rank", "#M", "#low", "#high"))
    shown = alt.condition("datum['not resolved']", alt.value("var(--pale)"), alt.value("var(--bar)"))
    bars = base.mark_bar().encode(x=alt.X("M:Q", title="M"), color=shown)
    spans = base.mark_rule(color="var(--mark)", strokeWidth=1.5).encode(x="low:Q", x2="high:Q")
    text = "format(datum.M, '.4g') + (datum['not resolved'] ? '  ~' : '')"
    ends = base.transform_calculate(end="isValid(datum.high) ? datum.high : datum.M", text=text)
    words = ends.mark_text(align="left", dx=6).encode(x="end:Q", text="text:N")
    return finished(alt.layer(bars, spans, words).properties(height=alt.Step(24)), "container")


def factors(names: Sequence[str]) -> dict[str, Any]:
    """What each factor multiplies a source's score by, relative to the geometric mean of the sources."""
    alt = altair()
    chart = (
        alt.Chart(alt.NamedData(ROWS))
        .transform_fold([*names, "M"], as_=["factor", "value"])
        .transform_filter("datum.value > 0")
        .transform_calculate(log="log(datum.value)")
        .transform_joinaggregate(mean="mean(log)", groupby=["factor"])
        .transform_calculate(times="exp(datum.log - datum.mean)")
        .mark_bar()
        .encode(
            y=alt.Y("source:N", sort=None, title=None),
            x=alt.X(
                "times:Q",
                title="times the mean",
                scale=alt.Scale(type="log", nice=False),
                axis=alt.Axis(values=_TIMES, format="~g", labelOverlap="greedy"),
            ),
            x2=alt.datum(1),
            color=alt.condition("datum.times < 1", alt.value("var(--cut)"), alt.value("var(--bar)")),
            tooltip=_tips(alt, "source", "factor", "#value", "#times"),
        )
        .properties(width=124, height=alt.Step(21))
        .facet(column=alt.Column("factor:N", sort=[*names, "M"], title=None), spacing=14)
    )
    return finished(chart)


def similarity() -> dict[str, Any]:
    """Perplexity of the sources against the product of the similarities."""
    x = ("similarity", "product of the similarities to the target", "linear")
    return _scatter(x, ("PPL(s)", "PPL(s), log scale", "log"), "source", "#M")


def agreement() -> dict[str, Any]:
    """Measured gains against scores of the sources for a target."""
    return _scatter(("M", "M, log scale", "log"), ("gain", "measured gain", "linear"), "source", "rank")


def _scatter(x: tuple[str, str, str], y: tuple[str, str, str], *told: str) -> dict[str, Any]:
    alt = altair()

    def axis(kind: Any, of: tuple[str, str, str]) -> Any:
        linear = {"zero": False} if of[2] == "linear" else {"nice": False}
        scale = alt.Scale(type=of[2], padding=20, **linear)
        return kind(field=of[0], type="quantitative", title=of[1], scale=scale)

    tips = _tips(alt, *told, f"#{x[0]}", f"#{y[0]}")
    known = f"isValid(datum['{x[0]}']) && isValid(datum['{y[0]}'])"
    base = alt.Chart(alt.NamedData(ROWS)).transform_filter(known)
    base = base.encode(x=axis(alt.X, x), y=axis(alt.Y, y), tooltip=tips)
    points = base.mark_point(filled=True, size=70, color="var(--bar)", opacity=0.9)
    few = base.transform_joinaggregate(all="count()", low=f"min({x[0]})", high=f"max({x[0]})")
    few = few.transform_filter(f"datum.all <= {LABELLED}")
    few = few.transform_window(place="row_number()", sort=[alt.SortField(y[0], "descending")])
    right = f"datum['{x[0]}'] - datum.low > 0.8 * (datum.high - datum.low)"
    layers = [points]
    for below in (0, 1):  # one name above its point, the next one below, so that neighbours do not cover each other
        for align, side, dx in (("left", f"!({right})", 7), ("right", right, -7)):
            some = few.transform_filter(f"datum.place % 2 != {below} && ({side})")
            layers.append(some.mark_text(align=align, dx=dx, dy=9 if below else -7, limit=140).encode(text="source:N"))
    return finished(alt.layer(*layers).properties(height=340), "container")


def taus() -> dict[str, Any]:
    """Kendall's tau of each target with its bootstrap interval."""
    alt = altair()
    base = alt.Chart(alt.NamedData(ROWS)).encode(
        y=alt.Y("target:N", sort=None, title=None), tooltip=_tips(alt, "target", "#tau", "#low", "#high")
    )
    zero = alt.Chart(alt.NamedData(ROWS)).mark_rule(color="var(--line)").encode(x=alt.datum(0))
    domain = alt.Scale(domain=[-1, 1])
    spans = base.mark_rule(color="var(--mark)", strokeWidth=1.5).encode(x=alt.X("low:Q", title=None), x2="high:Q")
    x = alt.X("tau:Q", scale=domain, title="Kendall's tau-b over sources, and its 95% bootstrap interval")
    points = base.mark_point(filled=True, size=70, color="var(--bar)", opacity=1).encode(x=x)
    return finished(alt.layer(zero, spans, points).properties(height=alt.Step(22)), "container")


def clusters() -> dict[str, Any]:
    """Samples in each cluster."""
    alt = altair()
    chart = (
        _by_cluster(alt)
        .mark_bar()
        .encode(
            y=alt.Y("cluster:O", title="cluster"),
            x=alt.X("samples:Q", title="samples"),
            color=_colour(alt),
            tooltip=_tips(alt, "cluster", "samples"),
        )
        .properties(width=210, height=230)
    )
    return finished(chart)


def silhouettes() -> dict[str, Any]:
    """Silhouettes of the samples, cluster by cluster, from the highest down."""
    alt = altair()
    base = _by_cluster(alt)
    areas = base.mark_area(orient="horizontal", interpolate="step").encode(
        y=alt.Y("place:Q", scale=alt.Scale(reverse=True, nice=False), axis=None),
        x=alt.X("silhouette:Q", title="silhouette"),
        color=_colour(alt),
        detail="cluster:O",
    )
    words = base.mark_text(align="right", dx=-4, fontSize=11).encode(
        y="mean(place):Q", x=alt.datum(0), text="cluster:O"
    )
    words = words.encode(detail="cluster:O")
    return finished(alt.layer(areas, words).properties(width=210, height=230))


def projection() -> dict[str, Any]:
    """The sketch on its two main axes; each cluster's number stands at its middle."""
    alt = altair()
    plain = alt.Axis(labels=False, ticks=False)
    base = _by_cluster(alt)
    shapes = alt.Scale(range=list(_SHAPES), domain=list(range(CLUSTERS)))
    points = base.mark_point(filled=True, size=22, opacity=0.65).encode(
        x=alt.X("first:Q", title="first principal axis", axis=plain, scale=alt.Scale(zero=False)),
        y=alt.Y("second:Q", title="second principal axis", axis=plain, scale=alt.Scale(zero=False)),
        color=_colour(alt),
        shape=alt.Shape("hue:N", scale=shapes, legend=None),
        tooltip=_tips(alt, "cluster"),
    )
    middle = base.encode(x="mean(first):Q", y="mean(second):Q", detail="cluster:O")
    discs = middle.mark_circle(size=280, color="var(--page)", opacity=0.85)
    words = middle.mark_text(fontSize=13, fontWeight=700).encode(text="cluster:O")
    return finished(alt.layer(points, discs, words).properties(width=270, height=230))


def _by_cluster(alt: Any) -> Any:
    """Rows of clusters; from the eleventh on their colours come again."""
    return alt.Chart(alt.NamedData(ROWS)).transform_calculate(hue=f"datum.cluster % {CLUSTERS}")


def _colour(alt: Any) -> Any:
    colours = [f"var(--k{i})" for i in range(CLUSTERS)]
    return alt.Color("hue:O", scale=alt.Scale(domain=list(range(CLUSTERS)), range=colours), legend=None)


def scores() -> dict[str, Any]:
    """Samples by their score, on a log scale."""
    return _histogram("log")


def losses() -> dict[str, Any]:
    """Samples by the mean negative log-likelihood of their answers."""
    return _histogram("linear")


def _histogram(scale: str) -> dict[str, Any]:
    """Samples by a number, those that a selection chose apart, and the lowest number that it chose."""
    alt = altair()
    base = alt.Chart(alt.NamedData(ROWS))
    linear = {"zero": False} if scale == "linear" else {}
    x = alt.X("from:Q", title=None, scale=alt.Scale(type=scale, nice=False, **linear), axis=alt.Axis(grid=False))
    y = alt.Y("samples:Q", title="samples")
    bars = base.encode(x=x, x2="to:Q", tooltip=_tips(alt, "#from", "#to", "samples", "chosen"))
    every = bars.mark_rect(color="var(--pale)").encode(y=y, y2=alt.datum(0))
    chosen = bars.mark_rect(color="var(--bar)").encode(y="chosen:Q", y2=alt.datum(0))
    cut = base.transform_filter("isValid(datum.cut)").transform_aggregate(cut="min(cut)")
    rule = cut.mark_rule(color="var(--cut)", strokeWidth=2, strokeDash=[5, 3]).encode(x="cut:Q")
    words = cut.mark_text(align="left", dx=5, dy=8, color="var(--cut)").encode(
        x="cut:Q", y=alt.value(0), text=alt.Text("cut:Q", format=_DIGITS)
    )
    return finished(alt.layer(every, chosen, rule, words).properties(height=220), "container")


def mixture() -> dict[str, Any]:
    """Rows that a mixture takes of each source."""
    alt = altair()
    y = alt.Y("source:N", sort=None, title=None)
    base = alt.Chart(alt.NamedData(ROWS)).encode(y=y, tooltip=_tips(alt, "source", "taken", "available", "#share"))
    bars = base.mark_bar(color="var(--bar)").encode(x=alt.X("taken:Q", title="rows taken"))
    share = base.transform_calculate(text="format(datum.taken, ',') + '  (' + format(datum.share, '.1%') + ')'")
    words = share.mark_text(align="left", dx=6).encode(x="taken:Q", text="text:N")
    return finished(alt.layer(bars, words).properties(height=alt.Step(24)), "container")


CHARTS: Mapping[str, Callable[[], dict[str, Any]]] = {
    each.__name__: each
    for each in (ranking, similarity, agreement, taus, clusters, silhouettes, projection, scores, losses, mixture)
}
"""Name of a chart -> its specification. ``factors`` stands apart: it is told which there are."""
