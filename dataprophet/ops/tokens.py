"""Operations on tokens: log-probabilities of targets, and means over answers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from dataprophet.ops import backend, checks, reference
from dataprophet.ops.arrays import Operand, like, operand
from dataprophet.ops.reference import LogprobParts, TokenDetails
from dataprophet.ops.threads import thread_count


def token_logprobs(
    logits: Any, targets: Any, *, bias: Any = None, softcap: float | None = None, scale: float = 1.0
) -> Any:
    """Natural log of the softmax of each row at its target, accumulated in fp32 or better.

    The logits are read once, as z = scale * (logits + bias), then softcap * tanh(z / softcap).

    Args:
        logits: (n, V) array.
        targets: (n,) integers in [0, V).
        bias: (V,) array, or None.
        softcap: positive bound of the logits, or None.
        scale: factor of the logits.

    Returns:
        (n,) float32, in nats. A row with NaN or plus infinity, or of minus infinities alone, gives NaN. On CUDA nothing
        waits for the device, so a target out of range is not an error there but gives NaN.

    Raises:
        DataProphetError: different n, V = 0, a bias of another length, a softcap that is not positive, or a target out
            of range.
    """
    rows = operand(logits, "logits", 2)
    return _computed("token_logprobs", (rows,), targets, rows.shape[1], (bias, softcap, scale))[0]


def linear_logprobs(
    hidden: Any, weight: Any, targets: Any, *, bias: Any = None, softcap: float | None = None, scale: float = 1.0
) -> Any:
    """Log-probabilities of targets under a linear head, without storing the logits.

    The logits are z = scale * (hidden @ weight.T + bias), then softcap * tanh(z / softcap), in transformers' order.

    Args:
        hidden: (n, D) array.
        weight: (V, D) array, of the same dtype or another.
        targets: (n,) integers in [0, V).
        bias: (V,) array, or None.
        softcap: positive bound of the logits, or None.
        scale: factor of the logits.

    Returns:
        (n,) float32, in nats, as ``token_logprobs`` says, accumulated in fp32 or better. A bias may hold minus
        infinity, which rules a token out; a head that holds infinity may give NaN.

    Raises:
        DataProphetError: shapes that do not fit, a softcap that is not positive, or a target out of range.
    """
    given = _linear(hidden, weight)
    return _computed("linear_logprobs", given, targets, given[1].shape[0], (bias, softcap, scale))[0]


def token_details(
    logits: Any, targets: Any, *, bias: Any = None, softcap: float | None = None, scale: float = 1.0
) -> TokenDetails:
    """Rank of each row's target, and the entropy of the softmax that it is drawn from.

    Tensors are computed where they are, in fp32, arrays in NumPy; float64 in float64. No kernel is compiled for it.

    Args:
        logits: (n, V) array; the other arguments are those of ``token_logprobs``.
        targets: (n,) integers in [0, V).
        bias: (V,) array, or None.
        softcap: positive bound of the logits, or None.
        scale: factor of the logits.

    Returns:
        TokenDetails(rank (n,) int64, the number of logits strictly greater than the target's; entropy (n,) float32, in
        nats). A row without a softmax, and on CUDA a target out of range, gives -1 and NaN.

    Raises:
        DataProphetError: as ``token_logprobs``.
    """
    rows = operand(logits, "logits", 2)
    return _detailed("token_details", (rows,), targets, rows.shape[1], (bias, softcap, scale))


def linear_details(
    hidden: Any, weight: Any, targets: Any, *, bias: Any = None, softcap: float | None = None, scale: float = 1.0
) -> TokenDetails:
    """``token_details`` under a linear head, of which the logits of a few rows are stored at a time.

    Args:
        hidden: (n, D) array; the other arguments are those of ``linear_logprobs``.
        weight: (V, D) array, of the same dtype or another.
        targets: (n,) integers in [0, V).
        bias: (V,) array, or None.
        softcap: positive bound of the logits, or None.
        scale: factor of the logits.

    Returns:
        As ``token_details``.

    Raises:
        DataProphetError: as ``linear_logprobs``.
    """
    given = _linear(hidden, weight)
    return _detailed("linear_details", given, targets, given[1].shape[0], (bias, softcap, scale))


def logprob_parts(
    hidden: Any,
    weight: Any,
    targets: Any,
    *,
    first: int = 0,
    bias: Any = None,
    softcap: float | None = None,
    scale: float = 1.0,
) -> LogprobParts:
    """What one shard of a head tells of the log-probabilities, where the vocabulary is cut over several devices.

    Args:
        hidden: (n, D) array.
        weight: (V', D) array: rows [first, first + V') of the head. V' may be 0.
        targets: (n,) integers, in the whole vocabulary.
        first: the shard's first token.
        bias: (V',) array of the shard, or None.
        softcap: as in ``linear_logprobs``.
        scale: as in ``linear_logprobs``.

    Returns:
        LogprobParts(maximum, total, target), each (n,) float32: maximum + log(total) is the log of the sum of the
        exponentials of the shard's logits, and target the target's logit, or minus infinity where it lies in another
        shard. ``merge_logprobs`` takes those of all shards.

    Raises:
        DataProphetError: shapes that do not fit, a softcap that is not positive, or a target below 0.
    """
    given = _linear(hidden, weight)
    size = given[1].shape[0]
    return LogprobParts(*_computed("logprob_parts", given, targets, size, (bias, softcap, scale), first=first))


def merge_logprobs(parts: Sequence[LogprobParts]) -> Any:
    """Log-probabilities of targets from all shards of a vocabulary.

    Args:
        parts: what ``logprob_parts`` returned for each shard, at least one, in any order: the last bit may depend on
            it. All must be on one device.

    Returns:
        (n,) float32, in nats, with the rules of ``linear_logprobs``. Minus infinity for a target that no shard holds.

    Raises:
        DataProphetError: no parts, or parts of different numbers of rows.
    """
    given = checks.parts_of(parts)
    main = given[0].maximum
    if main.on_cuda:
        merge = backend.on_tokens("merge_logprobs", wide=main.dtype == "float64")
        return main.give_back(merge([LogprobParts(*(each.values for each in part)) for part in given]))
    return main.give_back(reference.merge_logprobs([LogprobParts(*(each.numpy() for each in part)) for part in given]))


def segment_means(values: Any, offsets: Any) -> Any:
    """Mean of each segment of a vector.

    Args:
        values: (n,) array.
        offsets: (S + 1,) increasing integers in [0, n]; segment i is values[offsets[i]:offsets[i + 1]].

    Returns:
        (S,) float32. Offsets that lie on CUDA are not checked, since that would wait for the device: an empty segment
        gives NaN there.

    Raises:
        DataProphetError: no offsets, an empty segment, or offsets out of range.
    """
    numbers = operand(values, "values", 1)
    edges = operand(offsets, "offsets", 1, integers=True)
    checks.at_least(edges, 1)
    if not edges.on_cuda:
        checks.segments(edges, numbers.shape[0])
    kernel = backend.kernel("segment_means") if numbers.on_cuda and numbers.dtype != "float64" else None
    if kernel is not None:
        moved = like(offsets, "offsets", 1, numbers, integers=True)
        return numbers.give_back(kernel(numbers.values, moved.values))
    return numbers.give_back(reference.segment_means(numbers.numpy(), edges.numpy()))


def _linear(hidden: Any, weight: Any) -> tuple[Operand, Operand]:
    rows = operand(hidden, "hidden", 2)
    weights = like(weight, "weight", 2, rows)
    checks.same_columns(rows, weights)
    return rows, weights


def _computed(
    name: str,
    given: tuple[Operand, ...],
    targets: Any,
    size: int,
    head: tuple[Any, float | None, float],
    *,
    first: int | None = None,
) -> tuple[Any, ...]:
    """What an operation of that name makes of rows (and a head), targets and a head's options.

    ``head`` is the bias (of ``size`` tokens), the softcap and the scale of logits.
    ``first`` is given for parts of a vocabulary alone, whose targets may lie in another.
    """
    rows, (_, softcap, scale) = given[0], head
    at = checks.targets_of(targets, rows, size if first is None else None)
    offset = _offset(rows, size, head)
    wide = any(each.dtype == "float64" for each in given)
    options = {"softcap": softcap, "scale": scale} | ({} if first is None else {"first": first})
    if rows.on_cuda:
        way, values = backend.on_tokens(name, wide=wide), [each.values for each in (*given, at)]
        found = way(*values, bias=offset and offset.values, **options)
    elif backend.note(name, "reference" if wide else "core") == "reference":
        values = [each.numpy() for each in (*given, at)]
        found = getattr(reference, name)(*values, bias=offset and offset.numpy(), **options)
    else:  # the core takes aligned arrays, and a softcap of 0 for none
        places = np.require(at.numpy(), np.int64, ["C", "A"]) - (first or 0)
        shifts = offset and np.require(offset.numpy(), np.float32, ["C", "A"])
        cap = 0.0 if softcap is None else max(softcap, float(np.finfo(np.float32).tiny))
        found = tuple(np.empty(rows.shape[0], np.float32) for _ in range(1 if first is None else 3))
        core = getattr(backend.core, name)
        core(*(each.rows() for each in given), places, shifts, cap, scale, *found, thread_count())
    return tuple(rows.give_back(each) for each in (found if isinstance(found, tuple) else (found,)))


def _detailed(
    name: str, given: tuple[Operand, ...], targets: Any, size: int, head: tuple[Any, float | None, float]
) -> TokenDetails:
    """As ``_computed``, for what torch and the reference alone compute."""
    rows, (_, softcap, scale) = given[0], head
    at = checks.targets_of(targets, rows, size)
    offset = _offset(rows, size, head)
    if rows.is_torch:
        way, values = backend.on_tokens(name, wide=True), [each.values for each in (*given, at)]
        found = way(*values, bias=offset and offset.values, softcap=softcap, scale=scale)
    else:
        way, values = getattr(reference, name), [each.numpy() for each in (*given, at)]
        found = way(*values, bias=offset and offset.numpy(), softcap=softcap, scale=scale)
    return TokenDetails(*(rows.give_back(each) for each in found))


def _offset(rows: Operand, size: int, head: tuple[Any, float | None, float]) -> Operand | None:
    """The bias of a head, whose options are checked."""
    bias, softcap, _ = head
    offset = None if bias is None else checks.bias_of(bias, size, rows)
    bounded = softcap is None or softcap > 0.0
    checks.require(bounded, f"expected a positive number, got {softcap}", "softcap", "use None for no cap")
    return offset
