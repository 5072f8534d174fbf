"""The families that transformers maps for image-text-to-text, each right or refused: the table of docs/model.md.

    python tools/families.py           try every family, built tiny, and print the table
    python tools/families.py --write   and write it into docs/model.md
    python tools/families.py NAME ...  try these alone; --write then leaves the rows of others as they are

A family whose processor exists with torchvision alone is tried where torchvision loads (make families).
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import sys
import tempfile
import textwrap
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests" / "support"))

import tiny_models  # noqa: E402
import torch  # noqa: E402
import transformers  # noqa: E402
from family_check import ORDERS, check  # noqa: E402
from family_reference import TOLERANCE  # noqa: E402
from transformers.models.auto.configuration_auto import CONFIG_MAPPING  # noqa: E402
from transformers.models.auto.modeling_auto import MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES  # noqa: E402

from dataprophet.errors import DataProphetError, MissingDependencyError, first_line  # noqa: E402
from dataprophet.model import from_transformers  # noqa: E402

PAGE = ROOT / "docs" / "model.md"
BEGIN, END = "<!-- tools/families.py writes from here -->\n", "<!-- to here -->\n"
HEAD = "| family | result | shares | vision calls | float32 | bfloat16 (own) |\n|---|---|---|---|---|---|\n"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help="families, as transformers names them")
    parser.add_argument("--write", action="store_true", help="write the table into docs/model.md")
    given = parser.parse_args()
    found = {}
    for name in given.names or MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES:
        found[name] = tried(name) if name in tiny_models.BUILDERS else untried(name)
        print(name, *found[name], flush=True)
    if given.write:
        before, rest = PAGE.read_text(encoding="utf-8").split(BEGIN)
        table, after = rest.split(END)
        found = {**written_in(table), **found}
        listed = {name: found[name] for name in MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES if name in found}
        PAGE.write_text(before + BEGIN + page_of(listed) + END + after, encoding="utf-8")
    return int(any(result.startswith("WRONG") for result, *_ in found.values()))


def page_of(found: Mapping[str, Sequence[str]]) -> str:
    """A table of the families that were tried, and lists of the others with the reason."""
    table = [f"| {name} | {' | '.join(cells)} |" for name, cells in found.items() if len(cells) > 1]
    others: dict[str, list[str]] = {}
    for name, cells in found.items():
        if len(cells) == 1:
            others.setdefault(cells[0].replace(f"family {name!r} is not supported: ", ""), []).append(name)
    lines = (f"- {', '.join(names)}: {reason}" for reason, names in sorted(others.items()))
    wrapped = ("\n".join(textwrap.wrap(line, 118, subsequent_indent="  ", break_on_hyphens=False)) for line in lines)
    return HEAD + "\n".join([*table, "", *wrapped]) + "\n"


def written_in(table: str) -> dict[str, list[str]]:
    """What `page_of` wrote, read back."""
    found = {}
    for line in table.replace("\n  ", " ").removeprefix(HEAD).splitlines():
        if line.startswith("| "):
            name, *cells = line.strip("| ").split(" | ")
            found[name] = cells
        elif line:
            names, reason = line.removeprefix("- ").split(": ", 1)
            found |= {name: [reason] for name in names.split(", ")}
    return found


def tried(name: str) -> list[str]:
    """The other cells of a family's row, from its tiny model."""
    if tiny_models.needs_torchvision(name) and importlib.util.find_spec("torchvision") is None:
        return ["not tried here: its processor needs torchvision"]
    try:
        with tempfile.TemporaryDirectory() as folder:
            found = check(name, tiny_models.write(name, Path(folder) / name))
    except MissingDependencyError as error:
        return [f"not tried here: {error.what}"]
    except DataProphetError as error:
        return [f"refused: {error.what}"]
    except Exception as error:
        return [f"WRONG: it ends in {type(error).__name__} ({first_line(error)})"]
    right = found.exact <= TOLERANCE and found.half <= ORDERS * found.plain
    joins = found.model._adapter.joins_images and found.model._batcher.mixes
    calls = "one a batch" if joins else "one a sample"
    half = f"{found.half:.2g} ({found.plain:.2g})"
    return ["right" if right else "WRONG", found.model.sharing, calls, f"{found.exact:.1g}", half]


def untried(name: str) -> list[str]:
    """The same for a family without a tiny model: refused for what it is, or left to the checks at the start."""
    try:
        with warnings.catch_warnings(), torch.device("meta"):
            warnings.simplefilter("ignore")
            network = getattr(transformers, MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES[name])(
                small(CONFIG_MAPPING[name]())
            )
        from_transformers(network, None, name=name)
    except Exception as error:  # of its own, or that of the processor that is not there
        if isinstance(error, DataProphetError) and error.__cause__ is None:
            return [f"refused: {error.what}"]
    return ["not tried: the checks at the start decide"]


def small(config: Any) -> Any:
    """A configuration with a layer of each part."""
    if getattr(config, "image_token_id", 0) is None:  # which a model's own configuration names
        config.image_token_id = 0
    for part in (config, *(getattr(config, name, None) for name in config.sub_configs)):
        if part is not None and isinstance(getattr(part, "num_hidden_layers", None), int):
            part.num_hidden_layers = min(part.num_hidden_layers, 2)
    return config


if __name__ == "__main__":
    raise SystemExit(main())
