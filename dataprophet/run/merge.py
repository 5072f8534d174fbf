"""Partial profiles into one, in bounded memory."""

from __future__ import annotations

from collections.abc import Iterable

from dataprophet.profiles import Profile


def merged(empty: Profile, partials: Iterable[Profile]) -> Profile:
    """The sum of partial profiles.

    The sums are exact, so neither their order nor their number changes a bit. At any time one partial is in memory
    beside the result.

    Args:
        empty: a profile of no samples, with the name that the result shall have.
        partials: profiles of the same origin, none sealed.
    """
    total = empty
    for partial in partials:
        name = total.name
        total = total + partial
        total.name = name
    return total
