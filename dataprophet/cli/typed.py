"""Messages in the words of the command line: its options in the place of the arguments that the library names.

A message of the library names an argument as ``max_bad=0.2``, for whoever calls it from Python. What a command prints
goes through here. Names that are not in the table, such as those of columns, stay as they are, and so do arguments
of a processor.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from dataprophet.errors import DataProphetError

_OF_ONE_NAME = """allow_outside allow_urls answer_is budget cache candidates clusters combine details device
diverse diversity_fields dtype embeddings engine factors fields image_root leakage max_bad max_nll max_pixels max_share
memory min_answer_tokens near_duplicates nll_quantiles overwrite partial processes ray_address ray_option selection
split subset template trust_remote_code unit without"""
_OPTIONS = {
    **{name: f"--{name.replace('_', '-')}" for name in _OF_ONE_NAME.split()},
    **{"fused": "--plain-head", "minimum": "--min-score", "quotas": "--quota", "target_quotas": "--target-quota"},
    **{"targets": "--target", "pools": "--pool", "max_nll and nll_quantiles": "--max-nll and --nll-quantiles"},
}
_NOT_THESE = r"(?<![\w./=-])(?<!--processor )(?<!--ray-option )"
_NAMED = re.compile(rf"{_NOT_THESE}({'|'.join(_OPTIONS)})=(True\b|False\b)?(?=(\w)?)")


def as_typed(text: str) -> str:
    """A message with options in the place of the arguments that it names: ``max_bad=0.2`` becomes --max-bad 0.2."""
    return _NAMED.sub(lambda found: _OPTIONS[found[1]] + (" " if found[3] else ""), text)


def error_as_typed(error: DataProphetError, args: Mapping[str, object]) -> DataProphetError:
    """The error in these words; ``args`` are those of the command, which may have an option for what it is about."""
    where = _OPTIONS.get(error.where, error.where)
    if error.where in _OPTIONS and error.where in args:  # what has another name in other commands
        where = f"--{error.where.replace('_', '-')}"
    return DataProphetError(as_typed(error.what), where=where, fix=as_typed(error.fix))
