"""Operations on tokens: log-probabilities of targets, and means over answers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from dataprophet.ops import backend, checks, reference
from dataprophet.ops.arrays import Operand, like, operand
from dataprophet.ops.reference import LogprobParts, TokenDetails
from dataprophet.ops.threads import thread_count


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
    if rows.on_cuda:
        return _on_cuda("token_logprobs", rows, [rows.values, at.values], head, details=details)
    if rows.dtype == "float64":
        found = reference.token_logprobs(rows.numpy(), at.numpy(), **_for_reference(head), details=details)
    else:
        found, results = _results(rows, details)
        backend.core().token_logprobs(rows.rows(), _places(at), *_for_core(head), *results, thread_count())
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
        (n,) float32, in nats, or TokenDetails, as ``token_logprobs`` says, accumulated in fp32 or better. A bias may
        hold minus infinity, which rules a token out; a head that holds infinity may give NaN.

    Raises:
        DataProphetError: shapes that do not fit, a softcap that is not positive, or a target out of range.
    """
    rows, weights = _linear(hidden, weight)
    at = checks.targets_of(targets, rows, weights.shape[0])
    head = _head_options(bias, softcap, scale, weights.shape[0], rows)
    if rows.on_cuda:
        return _on_cuda("linear_logprobs", rows, [rows.values, weights.values, at.values], head, details=details)
    if "float64" in (rows.dtype, weights.dtype):
        given = rows.numpy(), weights.numpy(), at.numpy()
        found = reference.linear_logprobs(*given, **_for_reference(head), details=details)
    else:
        found, results = _results(rows, details)
        backend.core().linear_logprobs(
            rows.rows(), weights.rows(), _places(at), *_for_core(head), *results, thread_count()
        )
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
    if rows.on_cuda:
        found: LogprobParts = _on_cuda(
            "logprob_parts", rows, [rows.values, weights.values, at.values], head, first=first
        )
        return found
    if "float64" in (rows.dtype, weights.dtype):
        given = rows.numpy(), weights.numpy(), at.numpy()
        parts = reference.logprob_parts(*given, first=first, **_for_reference(head))
    else:
        parts = LogprobParts(*(np.empty(rows.shape[0], np.float32) for _ in LogprobParts._fields))
        backend.core().logprob_parts(
            rows.rows(), weights.rows(), _places(at) - first, *_for_core(head), *parts, thread_count()
        )
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
        return _on_cuda("merge_logprobs", main, [given], {})
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


def _for_reference(head: dict[str, Any]) -> dict[str, Any]:
    return head | {"bias": None if head["bias"] is None else head["bias"].numpy()}


def _for_core(head: dict[str, Any]) -> tuple[npt.NDArray[np.float32] | None, float, float]:
    """Bias, softcap (0 for none) and scale as the core takes them: it reads an aligned bias of float32."""
    bias = None if head["bias"] is None else np.require(head["bias"].numpy(), np.float32, ["C", "A"])
    softcap = 0.0 if head["softcap"] is None else max(head["softcap"], float(np.finfo(np.float32).tiny))
    return bias, softcap, head["scale"]


def _places(targets: Operand) -> npt.NDArray[np.int64]:
    return np.require(targets.numpy(), np.int64, ["C", "A"])


def _results(rows: Operand, details: bool) -> tuple[Any, list[Any]]:
    """What an operation returns, to be filled, and the arrays that the core fills it by: None where none is wanted."""
    n = rows.shape[0]
    logprobs = np.empty(n, np.float32)
    if not details:
        return logprobs, [logprobs, None, None, None]
    found = TokenDetails(logprobs, np.empty(n, np.float32), np.empty(n, np.int64), np.empty(n, np.int64))
    return found, list(found)


def _on_cuda(name: str, rows: Operand, given: list[Any], head: dict[str, Any], **options: Any) -> Any:
    """An operation on CUDA tensors: the Triton kernel of that name, else its like in plain torch.

    A kernel takes the arguments of the function of its name in ``torch_ops``, and returns the same.
    """
    if "bias" in head:
        head = head | {"bias": None if head["bias"] is None else head["bias"].values}
    wide = rows.dtype == "float64" or any(str(getattr(each, "dtype", "")) == "torch.float64" for each in given)
    kernel = None if wide else backend.kernel(name)
    way = getattr(backend.torch_ops(), name) if kernel is None else kernel
    return _given_back(way(*given, **head, **options), rows.give_back_tensor)


def _given_back(found: Any, give_back: Callable[[Any], Any]) -> Any:
    """One result, or each field of a named tuple of them, in the caller's library."""
    if isinstance(found, TokenDetails | LogprobParts):
        return type(found)(*(give_back(each) for each in found))
    return give_back(found)
