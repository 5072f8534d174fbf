"""Whether the scores of several pools may be ranked together; ``pools`` asks before anything is chosen."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from dataprophet.errors import MetricError
from dataprophet.scoring.folder.files import load_targets
from dataprophet.scoring.folder.pool import ScoredPool


def require_comparable(pools: Sequence[ScoredPool], targets: Sequence[str]) -> None:
    """Refuse pools that were scored by different models, for other fields, or for other profiles of one name.

    Args:
        pools: each scored for all targets.
        targets: names of those that matter.

    Raises:
        MetricError: naming two pools and what differs.
    """
    for pool in pools[1:]:
        first, mine, its = pools[0], _made_with(pool), _made_with(pools[0])
        differs = [key for key in sorted({*mine, *its}) if mine.get(key) != its.get(key)]
        differs += [f"profile of target {name!r}" for name in targets if not _same_target(first, pool, name)]
        if differs:
            what = f"was scored with another {differs[0]} than {first.folder}"
            if differs[0] == "model":
                what += f" ({pool.config.told('fingerprint')} against {first.config.told('fingerprint')})"
            elif differs[0] in {*mine, *its}:
                what += f" ({mine.get(differs[0], 'unset')} against {its.get(differs[0], 'unset')})"
            fix = "score both with the same model, fields and targets, or select from one of them"
            raise MetricError(what, where=pool.folder, fix=fix)


def _made_with(pool: ScoredPool) -> Mapping[str, str]:
    """What a pool's scores and vectors depend on, beside its targets."""
    config = pool.config
    return {
        "model": config.fingerprint,
        "set of fields": ",".join(config.fields),
        "set of diversity fields": config.sketch["diversity_fields"],
        **config.settings,
    }


def _same_target(first: ScoredPool, second: ScoredPool, name: str) -> bool:
    """Whether two pools' profiles of a target score alike, of which one may be sealed or hold a diversity."""
    pools = (first, second)
    its = [next(target for target in pool.config.targets if target["name"] == name) for pool in pools]
    if its[0]["fingerprint"] == its[1]["fingerprint"]:
        return True
    scales = (load_targets(pool.store, [target], pool.config.fields) for pool, target in zip(pools, its, strict=True))
    return len({scale.fingerprint for scale in scales}) == 1  # hash of all that changes a score
