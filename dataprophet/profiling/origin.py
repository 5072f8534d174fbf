"""Where profiles come from: those of different models or settings must not be mixed or compared."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from dataprophet.errors import ProfileError

if TYPE_CHECKING:
    from dataprophet.profiling.profile import Profile


def require_same_origin(profiles: Iterable[Profile]) -> None:
    """Refuse profiles of different models or settings.

    Raises:
        ProfileError: naming the two profiles and what differs.
    """
    first: Profile | None = None
    for other in profiles:
        first = first or other
        if other.fingerprint == first.fingerprint:
            continue
        keys = sorted(
            key for key in {*first.settings, *other.settings} if first.settings.get(key) != other.settings.get(key)
        )
        what = "model" if other.model != first.model else keys[0]
        mine, its = (
            (first.model[:16], other.model[:16])
            if what == "model"
            else (first.settings.get(what, "unset"), other.settings.get(what, "unset"))
        )
        raise ProfileError(
            f"{what} differs from profile {first.name!r} ({its} against {mine})",
            where=f"profile {other.name!r}",
            fix="profile both with the same model and settings",
        )
