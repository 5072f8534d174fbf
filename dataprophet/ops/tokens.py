"""Operations on tokens: log-probabilities of targets, and means over answers."""

from __future__ import annotations

from typing import Any

from dataprophet import checks, reference
from dataprophet.errors import DataProphetError
from dataprophet.intake import like, operand
from dataprophet.ops import backend


def token_logprobs(logits: Any, targets: Any) -> Any:
    """Natural log of the softmax of each row at its target, accumulated in fp32 or better.

    Args:
        logits: (n, V) array.
        targets: (n,) integers in [0, V).

    Returns:
        (n,) float32, in nats. A row with NaN or plus infinity, or of minus infinities alone, gives NaN. On CUDA nothing
        waits for the device, so a target out of range is not an error there but gives NaN.

    Raises:
        DataProphetError: different n, V = 0, or a target out of range.
    """
    rows = operand(logits, "logits", 2)
    at = checks.targets_of(targets, rows, rows.shape[1])
    if rows.on_cuda:
        kernel = backend.kernel("token_logprobs")
        if kernel is not None and rows.dtype != "float64":
            return rows.give_back_tensor(kernel(rows.values, at.values))
        safe, valid = _clamped(at.values, rows.shape[1])
        return rows.give_back_tensor(
            backend.torch_ops().token_logprobs(rows.values, safe).masked_fill(~valid, float("nan"))
        )
    if rows.is_torch:
        return backend.torch_ops().token_logprobs(rows.values, at.values)
    return rows.give_back(reference.token_logprobs(rows.numpy(), at.numpy()))


def linear_logprobs(
    hidden: Any, weight: Any, targets: Any, *, bias: Any = None, softcap: float | None = None, scale: float = 1.0
) -> Any:
    """Log-probabilities of targets under a linear head, without storing the logits.

    The logits are z = scale * (hidden @ weight.T + bias), then softcap * tanh(z / softcap), in transformers' order.

    Args:
        hidden: (n, D) array.
        weight: (V, D) array.
        targets: (n,) integers in [0, V).
        bias: (V,) array, or None.
        softcap: positive bound of the logits, or None.
        scale: factor of the logits.

    Returns:
        (n,) float32, in nats, accumulated in fp32 or better. On CUDA a target out of range gives NaN.

    Raises:
        DataProphetError: shapes that do not fit, a softcap that is not positive, or a target out of range.
    """
    rows = operand(hidden, "hidden", 2)
    head = like(weight, "weight", 2, rows)
    checks.same_columns(rows, head)
    at = checks.targets_of(targets, rows, head.shape[0])
    offset = None if bias is None else checks.bias_of(bias, head, rows)
    if softcap is not None and not softcap > 0.0:
        raise DataProphetError(f"expected a positive number, got {softcap}", where="softcap", fix="use None for no cap")
    if rows.is_torch:
        extra = None if offset is None else offset.values
        return rows.give_back_tensor(
            backend.torch_ops().linear_logprobs(
                rows.values, head.values, at.values, bias=extra, softcap=softcap, scale=scale
            )
        )
    extra = None if offset is None else offset.numpy()
    return rows.give_back(
        reference.linear_logprobs(rows.numpy(), head.numpy(), at.numpy(), bias=extra, softcap=softcap, scale=scale)
    )


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


def _clamped(targets: Any, size: int) -> tuple[Any, Any]:
    return targets.clamp(0, size - 1), (targets >= 0) & (targets < size)
