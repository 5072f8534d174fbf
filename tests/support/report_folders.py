"""A run's folder without a model: datasets of real rows, profiles of features made up for them, scores, a mixture.

One source is named as no source should be, and its rows hold markup and script.
"""

from __future__ import annotations

import json
from html.parser import HTMLParser
from pathlib import Path

from sample_features import make_features
from sample_files import BLUE, GREEN, RED

from dataprophet import Profile, open_dataset, transfer_matrix
from dataprophet.data.identity.census import Census
from dataprophet.data.identity.compare import identity_of
from dataprophet.files import sha256
from dataprophet.report.values import file_name
from dataprophet.selection.mixture import mix

HOSTILE = '<img src=x onerror="window.hacked=1">'
SCRIPT = "</script><script>window.hacked=2</script>{{ 7 * 7 }} `${hacked}` &amp; \u202eabc"
NAMES = {HOSTILE: RED, "shapes": GREEN, "charts": BLUE}
TARGET = "bench & <b>co</b>"
ROWS = 40


class Page(HTMLParser):
    """The elements of a report's page, its text, and what stands in its scripts."""

    def __init__(self, path):
        super().__init__(convert_charrefs=True)
        self.tags, self.text, self.scripts, self._in = [], "", [], ""
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        self._in = tag
        if tag == "script":
            self.scripts.append("")

    def handle_endtag(self, tag):
        self._in = ""

    def handle_data(self, data):
        if self._in == "script":
            self.scripts[-1] += data
        elif self._in != "style":
            self.text += data

    @property
    def data(self):
        return json.loads(self.scripts[0])

    @property
    def sections(self):
        return [attrs["id"] for tag, attrs in self.tags if tag == "section"]


def write_dataset(folder: Path, name: str, image: bytes, *, bad: int = 1) -> Path:
    """A LLaVA file of forty rows and some without an answer, and their images."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "a.png").write_bytes(image)
    rows = []
    for number in range(ROWS + bad):
        answer = SCRIPT if name == HOSTILE else f"answer {number}"
        talk = [
            {"from": "human", "value": f"<image>\n{name} {number}?"},
            {"from": "gpt", "value": answer if number < ROWS else ""},
        ]
        rows.append({"id": f"{name}-{number}", "image": "a.png", "conversations": talk})
    path = folder / "rows.json"
    path.write_text(json.dumps(rows), encoding="utf-8")
    return path


def write_profile(path: Path, data: Path, name: str, seed: int) -> Profile:
    """A profile of the dataset's samples, of features made up."""
    census = Census()
    dataset = open_dataset(data, name=name)
    ids = [sample.id for sample in census.watching(dataset)]
    features = make_features(len(ids), seed=seed)
    features.ids = ids
    made = Profile.empty(name, "encoder", clusters=4)
    made.update(features)
    made.identity = identity_of(dataset, census)
    _ = made.diversity
    path.parent.mkdir(parents=True, exist_ok=True)
    made.save(path)
    return Profile.load(path)


def write_run(folder: Path) -> Path:
    """The folder of a run: three sources, two targets, a mixture."""
    profiles = []
    for seed, (name, image) in enumerate({**NAMES, TARGET: RED, "other-bench": GREEN}.items()):
        data = write_dataset(folder / "data" / str(seed), name, image, bad=seed % 2)
        profiles.append(write_profile(folder / "profiles" / f"{file_name(name)}.profile", data, name, seed))
    scores = transfer_matrix(profiles[:3], profiles[3:])
    scores.to_csv(folder / "scores.csv")
    datasets = {made.name: open_dataset(made.identity[0].lies, name=made.name) for made in profiles[:3]}
    mix(scores, TARGET, 20, datasets, folder / "mixtures" / "bench")
    run = {"command": "dataprophet run recipe.yaml", "versions": {"python": "3.11", "numpy": "2.3.5"}, "note": SCRIPT}
    run["files"] = {"scores.csv": sha256(folder / "scores.csv")}
    (folder / "run.json").write_text(json.dumps(run), encoding="utf-8")
    (folder / "recipe.yaml").write_text("budget: 20\nnote: <b>all</b>\n", encoding="utf-8")
    return folder
