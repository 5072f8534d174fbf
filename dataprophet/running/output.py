"""The folder of a run: of one recipe, worked in by one process at a time, with what was made of what.

It knows files and digests, and nothing of how a stage is done.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import replace
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path

import yaml

from dataprophet.errors import RecipeError, require
from dataprophet.files import MANIFEST, check_file, sha256, write_text
from dataprophet.running.check import changed
from dataprophet.running.reading import read_recipe
from dataprophet.running.recipe import Recipe, relative
from dataprophet.scoring.cache import CACHE
from dataprophet.store.checksums import dump_document, parse_document

RECIPE, RUN, REPORT = "recipe.yaml", "run.json", "report.html"
PROFILES, SCORES, RANKINGS, MIXTURES = "profiles", "scores.csv", "rankings.csv", "mixtures"
FORMAT = "dataprophet-run-1"
_HEAD = "# written by dataprophet run: every key with its value; docs/run.md tells what they mean\n"
_MADE = (PROFILES, MIXTURES, SCORES, "scores.factors.csv", "scores.identity.json", RANKINGS, REPORT, RUN)
_LEFT = re.compile(r"\..+\.(part|old)")  # what a process that was killed had begun
_VERSIONS = ("dataprophet", "numpy", "scipy", "pyarrow", "pillow", "torch", "transformers", "tokenizers")
_REPORTS = ("altair", "jinja2")


class Output:
    """The folder of a run.

    Attributes:
        folder: it.
        recipe: whose results it holds.
        mixtures: target -> hash of what its mixture was made of, digest of its manifest, number of its files.
    """

    def __init__(self, recipe: Recipe) -> None:
        self.folder, self.recipe = Path(recipe.out), recipe
        self.mixtures: dict[str, dict[str, str | int]] = {}

    def path(self, *names: str) -> Path:
        return self.folder.joinpath(*names)

    @property
    def cache(self) -> Path:
        """Folder that profiles are worked on in."""
        return Path(self.recipe.cache) if self.recipe.cache else self.path(CACHE)

    @contextmanager
    def opened(self, *, overwrite: bool) -> Iterator[None]:
        """Hold the folder; what another recipe, or another program, has made there is not touched.

        Raises:
            RecipeError: the folder holds something else, or another process works in it.
        """
        where, fix = self.recipe.place("out"), "choose another folder"
        what = f"{self.folder} is a file" if self.folder.exists() else f"{self.folder} cannot be written"
        usable = self.folder.is_dir() or not os.path.lexists(self.folder)
        require(usable and "://" not in self.recipe.out, what, where, fix, RecipeError)
        check_file(self.path(RECIPE))
        found = sorted(path.name for path in self.folder.iterdir()) if self.folder.is_dir() else []
        if RECIPE in found and self.path(RECIPE).read_bytes().startswith(_HEAD.encode()):
            self._require_same(overwrite)
        elif others := [name for name in found if name != CACHE and not _LEFT.fullmatch(name)]:
            require(False, f"{self.folder} holds {others[0]!r}, which no run wrote", where, fix, RecipeError)
        self.folder.mkdir(parents=True, exist_ok=True)
        try:
            with _held(self.folder, where):
                self._tidy()
                with suppress(OSError, ValueError, KeyError, TypeError):  # else every mixture is made anew
                    self.mixtures = dict(parse_document(self.path(RUN).read_bytes())["mixtures"])
                yield
        finally:
            with suppress(OSError):  # it holds something
                self.folder.rmdir()

    def _require_same(self, overwrite: bool) -> None:
        if overwrite or not any(self.path(name).exists() for name in _MADE):
            return
        where, fix = self.recipe.place("out"), "choose another folder, or replace them with overwrite=True"
        try:
            earlier = read_recipe(self.path(RECIPE))
        except RecipeError as error:
            what = f"{self.folder} holds a recipe that cannot be read ({error.what})"
            raise RecipeError(what, where=where, fix=fix) from error
        if differ := changed(earlier, self.recipe):
            more = f", and {len(differ) - 2} more" if len(differ) > 2 else ""
            what = f"{self.folder} holds the results of another recipe: {'; '.join(differ[:2])}{more}"
            raise RecipeError(what, where=where, fix=fix)

    def _tidy(self) -> None:
        """Remove what a process that was killed has left half-written: no other one works here."""
        for folder in (self.folder, self.path(PROFILES), self.path(MIXTURES)):
            for path in folder.iterdir() if folder.is_dir() else ():
                if _LEFT.fullmatch(path.name):
                    shutil.rmtree(path) if path.is_dir() else path.unlink()

    def begin(self) -> None:
        """Record the recipe, once everything is checked; what another one has made is removed before."""
        if self.path(RECIPE).is_file() and not self._is_same():
            self.mixtures.clear()
            for name in _MADE:
                path = self.path(name)
                shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
        seen = self.recipe.moved(lambda path: relative(path, self.folder))
        text = yaml.safe_dump(replace(seen, out=".").to_dict(), sort_keys=False, allow_unicode=True)
        write_text(self.path(RECIPE), _HEAD + text)

    def _is_same(self) -> bool:
        with suppress(RecipeError):
            return not changed(read_recipe(self.path(RECIPE)), self.recipe)
        return False

    def record(self, model: Mapping[str, str]) -> None:
        """Write what is there now, and what made it. Nothing of it tells when or where."""
        versions = {"python": ".".join(map(str, sys.version_info[:3]))}
        for name in _VERSIONS:
            with suppress(metadata.PackageNotFoundError):
                versions[name] = metadata.version(name)
        files = [*self.path(PROFILES).glob("*"), *map(self.path, _MADE[2:-2])]
        own = {path.relative_to(self.folder).as_posix(): sha256(path) for path in sorted(files) if path.is_file()}
        made = {name: self.mixtures[name] for name in sorted(self.mixtures)}
        document = {
            "format": FORMAT,
            "command": f"dataprophet run {RECIPE}",
            "versions": versions,
            "model": dict(model),
        }
        data = dump_document({**document, "mixtures": made, "files": own}, indent=1, ascii_only=False)
        write_text(self.path(RUN), data.decode())

    def kept(self, target: str, made_of: str) -> bool:
        """Whether a mixture of a target is there whole, and was made of this."""
        folder = self.path(MIXTURES, target)
        with suppress(OSError, ValueError, KeyError, TypeError):
            if not made_of or self.mixtures.get(target) != self._state(target, made_of):
                return False
            files = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))["files"]
            return all(sha256(folder / name) == digest for name, digest in files.items())
        return False

    def made(self, target: str, made_of: str) -> None:
        """Note of what a mixture was made."""
        self.mixtures[target] = self._state(target, made_of)

    @property
    def reported(self) -> Path:
        """File that says of what the report was made; no result."""
        return self.path(CACHE, "report.txt")

    def report_state(self) -> str:
        """What the report that is there was made of, and the report: recipe, results and packages."""
        digests = [sha256(path) if path.is_file() else "" for path in map(self.path, (RECIPE, RUN, REPORT))]
        return "\n".join([*digests, *(f"{name} {metadata.version(name)}" for name in _REPORTS if find_spec(name)), ""])

    def _state(self, target: str, made_of: str) -> dict[str, str | int]:
        folder = self.path(MIXTURES, target)
        files = sum(path.is_file() for path in folder.rglob("*"))
        return {"made_of": made_of, "manifest": sha256(folder / MANIFEST), "files": files}


@contextmanager
def _held(folder: Path, where: str) -> Iterator[None]:
    """Have no other process work in the folder meanwhile; the lock ends with the process."""
    try:
        import fcntl
    except ImportError:  # not on this system
        yield
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise RecipeError(f"another run works in {folder}", where=where, fix="wait for its end") from error
        except OSError:  # a file system without locks
            pass
        yield
    finally:
        os.close(handle)
