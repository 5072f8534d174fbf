"""Operations on tokens: log-probabilities of targets, and means over answers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from dataprophet import checks, reference
from dataprophet.intake import Operand, like, operand
from dataprophet.ops import backend
from dataprophet.reference import LogprobParts, TokenDetails


def token_logprobs(
    logits: Any,
    targets: Any,
    *,
    bias: Any = None,
    softcap: float | None = None,
    scale: float = 1.0,
    details: bool = False,
) -> Any:
    """Natural log of the softmax of each row at its target, accumulated in fp32 or better.

    The logits are read once, as z = scale * (logits + bias), then softcap * tanh(z / softcap).

    Args:
        logits: (n, V) array.
        targets: (n,) integers in [0, V).
        bias: (V,) array, or None.
        softcap: positive bound of the logits, or None.
        scale: factor of the logits.
        details: whether to return the entropy, the argmax and the target's rank too, from the same pass.

    Returns:
        (n,) float32, in nats; with details TokenDetails(logprobs (n,) float32, entropy (n,) float32 in nats, argmax
        (n,) int64, the lowest of equals, rank (n,) int64, the number of logits strictly greater than the target's, so
        that equals of the target, and itself, do not count). A row with NaN or plus infinity, or of minus infinities
        alone, gives NaN, and -1 for argmax and rank. On CUDA nothing waits for the device, so a target out of range is
        not an error there but gives NaN, and the rank -1.

    Raises:
        DataProphetError: different n, V = 0, a bias of another length, a softcap that is not positive, or a target out
            of range.
    """
    rows = operand(logits, "logits", 2)
    at = checks.targets_of(targets, rows, rows.shape[1])
    head = _head_options(bias, softcap, scale, rows.shape[1], rows)
    if rows.is_torch:
        return _in_torch("token_logprobs", rows, [rows.values, at.values], head, details=details)
    found = reference.token_logprobs(rows.numpy(), at.numpy(), **_numpy(head), details=details)
    return _given_back(found, rows.give_back)


def linear_logprobs(
    hidden: Any,
    weight: Any,
    targets: Any,
    *,
    bias: Any = None,
    softcap: float | None = None,
    scale: float = 1.0,
    details: bool = False,
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
        details: whether to return the entropy, the argmax and the target's rank too, from the same pass.

    Returns:
        (n,) float32, in nats, or TokenDetails, as ``token_logprobs`` says, accumulated in fp32 or better.

    Raises:
        DataProphetError: shapes that do not fit, a softcap that is not positive, or a target out of range.
    """
    rows, weights = _linear(hidden, weight)
    at = checks.targets_of(targets, rows, weights.shape[0])
    head = _head_options(bias, softcap, scale, weights.shape[0], rows)
    if rows.is_torch:
        return _in_torch("linear_logprobs", rows, [rows.values, weights.values, at.values], head, details=details)
    found = reference.linear_logprobs(rows.numpy(), weights.numpy(), at.numpy(), **_numpy(head), details=details)
    return _given_back(found, rows.give_back)


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
    rows, weights = _linear(hidden, weight)
    at = checks.targets_of(targets, rows, None)
    head = _head_options(bias, softcap, scale, weights.shape[0], rows)
    if rows.is_torch:
        given = [rows.values, weights.values, at.values]
        found: LogprobParts = _in_torch("logprob_parts", rows, given, head, first=first)
        return found
    parts = reference.logprob_parts(rows.numpy(), weights.numpy(), at.numpy(), first=first, **_numpy(head))
    return LogprobParts(*(rows.give_back(each) for each in parts))


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
    rows = checks.parts_of(parts)
    main = rows[0].maximum
    if main.on_cuda:
        given = [LogprobParts(*(each.values for each in part)) for part in rows]
        return _in_torch("merge_logprobs", main, [given], {})
    return main.give_back(reference.merge_logprobs([LogprobParts(*(each.numpy() for each in part)) for part in rows]))


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
        return numbers.give_back_tensor(kernel(numbers.values, moved.values))
    return numbers.give_back(reference.segment_means(numbers.numpy(), edges.numpy()))


def _linear(hidden: Any, weight: Any) -> tuple[Operand, Operand]:
    rows = operand(hidden, "hidden", 2)
    weights = like(weight, "weight", 2, rows)
    checks.same_columns(rows, weights)
    return rows, weights


def _head_options(bias: Any, softcap: float | None, scale: float, size: int, rows: Operand) -> dict[str, Any]:
    """What every operation does to logits, checked: bias an Operand or None, softcap and scale numbers."""
    offset = None if bias is None else checks.bias_of(bias, size, rows)
    checks.softcap(softcap)
    return {"bias": offset, "softcap": softcap, "scale": scale}


def _numpy(head: dict[str, Any]) -> dict[str, Any]:
    return head | {"bias": None if head["bias"] is None else head["bias"].numpy()}


def _in_torch(name: str, rows: Operand, given: list[Any], head: dict[str, Any], **options: Any) -> Any:
    """An operation on torch tensors: the Triton kernel of that name on CUDA, else its like in plain torch.

    A kernel takes the arguments of the function of its name in ``torch_ops``, and returns the same.
    """
    if "bias" in head:
        head = head | {"bias": None if head["bias"] is None else head["bias"].values}
    wide = rows.dtype == "float64" or any(str(getattr(each, "dtype", "")) == "torch.float64" for each in given)
    kernel = backend.kernel(name) if rows.on_cuda and not wide else None
    way = getattr(backend.torch_ops(), name) if kernel is None else kernel
    return _given_back(way(*given, **head, **options), rows.give_back_tensor)


def _given_back(found: Any, give_back: Callable[[Any], Any]) -> Any:
    """One result, or each field of a named tuple of them, in the caller's library."""
    if isinstance(found, TokenDetails | LogprobParts):
        return type(found)(*(give_back(each) for each in found))
    return give_back(found)
