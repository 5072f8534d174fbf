"""Operations on tokens: log-probabilities of targets, and means over answers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from dataprophet.ops import backend, checks, reference
from dataprophet.ops.arrays import Operand, like, operand
from dataprophet.ops.reference import LogprobParts
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
    at = checks.targets_of(targets, rows, rows.shape[1])
    head = _Head.checked(bias, softcap, scale, rows.shape[1], rows)
    if rows.on_cuda:
        return rows.give_back(_on_cuda("token_logprobs", rows, at, head=head))
    if rows.dtype == "float64":
        return rows.give_back(reference.token_logprobs(rows.numpy(), at.numpy(), **head.numpy()))
    found = np.empty(rows.shape[0], np.float32)
    backend.core.token_logprobs(rows.rows(), _places(at), *head.of_core(), found, thread_count())
    return rows.give_back(found)


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
    rows, weights = _linear(hidden, weight)
    at = checks.targets_of(targets, rows, weights.shape[0])
    head = _Head.checked(bias, softcap, scale, weights.shape[0], rows)
    if rows.on_cuda:
        return rows.give_back(_on_cuda("linear_logprobs", rows, weights, at, head=head))
    if "float64" in (rows.dtype, weights.dtype):
        return rows.give_back(reference.linear_logprobs(rows.numpy(), weights.numpy(), at.numpy(), **head.numpy()))
    found = np.empty(rows.shape[0], np.float32)
    backend.core.linear_logprobs(rows.rows(), weights.rows(), _places(at), *head.of_core(), found, thread_count())
    return rows.give_back(found)


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
    head = _Head.checked(bias, softcap, scale, weights.shape[0], rows)
    if rows.on_cuda:
        parts = _on_cuda("logprob_parts", rows, weights, at, head=head, first=first)
    elif "float64" in (rows.dtype, weights.dtype):
        given = rows.numpy(), weights.numpy(), at.numpy()
        parts = reference.logprob_parts(*given, first=first, **head.numpy())
    else:
        parts = LogprobParts(*(np.empty(rows.shape[0], np.float32) for _ in LogprobParts._fields))
        places = _places(at) - first
        backend.core.logprob_parts(rows.rows(), weights.rows(), places, *head.of_core(), *parts, thread_count())
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


@dataclass(frozen=True)
class _Head:
    """What every operation does to logits, checked: scale * (logits + bias), then softcap."""

    bias: Operand | None
    softcap: float | None
    scale: float

    @classmethod
    def checked(cls, bias: Any, softcap: float | None, scale: float, size: int, rows: Operand) -> _Head:
        """The options of a head of ``size`` tokens."""
        offset = None if bias is None else checks.bias_of(bias, size, rows)
        checks.softcap(softcap)
        return cls(offset, softcap, scale)

    def numpy(self) -> dict[str, Any]:
        """As the reference takes them."""
        return {"bias": self.bias and self.bias.numpy(), "softcap": self.softcap, "scale": self.scale}

    def of_core(self) -> tuple[npt.NDArray[np.float32] | None, float, float]:
        """As the core takes them: an aligned bias of float32, and a softcap of 0 for none."""
        bias = None if self.bias is None else np.require(self.bias.numpy(), np.float32, ["C", "A"])
        softcap = 0.0 if self.softcap is None else max(self.softcap, float(np.finfo(np.float32).tiny))
        return bias, softcap, self.scale


def _places(targets: Operand) -> npt.NDArray[np.int64]:
    return np.require(targets.numpy(), np.int64, ["C", "A"])


def _on_cuda(name: str, *given: Operand, head: _Head, **options: Any) -> Any:
    """An operation on CUDA tensors, and what it returns."""
    way = backend.on_tokens(name, wide=any(each.dtype == "float64" for each in given))
    bias = head.bias and head.bias.values
    return way(*(each.values for each in given), bias=bias, softcap=head.softcap, scale=head.scale, **options)
