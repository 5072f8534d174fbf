"""The plain NumPy float64 definition of every operation: what the compiled ones must equal.

Arguments are NumPy arrays that ``dataprophet.ops`` has checked; nothing of size n x n or n x V is stored, and results
are the same bits for any number of BLAS threads.
"""

from dataprophet.ops.reference.clusters import KMeans, cluster_entropy, entropy_of_counts, kmeans, kmeans_draws
from dataprophet.ops.reference.directions import (
    SUM_UNIT,
    RowMeasures,
    average_directions,
    bad_rows_error,
    cosine_to,
    expected_cosine,
    mean_direction,
    measure_rows,
    nearest,
)
from dataprophet.ops.reference.diversity import Diversity, diversity
from dataprophet.ops.reference.silhouette import Silhouette, silhouette_samples, silhouette_score, silhouettes
from dataprophet.ops.reference.tokens import (
    LogprobParts,
    linear_logprobs,
    logprob_parts,
    merge_logprobs,
    segment_means,
    token_logprobs,
)

__all__ = [
    "SUM_UNIT",
    "Diversity",
    "KMeans",
    "LogprobParts",
    "RowMeasures",
    "Silhouette",
    "average_directions",
    "bad_rows_error",
    "cluster_entropy",
    "cosine_to",
    "diversity",
    "entropy_of_counts",
    "expected_cosine",
    "kmeans",
    "kmeans_draws",
    "linear_logprobs",
    "logprob_parts",
    "mean_direction",
    "measure_rows",
    "merge_logprobs",
    "nearest",
    "segment_means",
    "silhouette_samples",
    "silhouette_score",
    "silhouettes",
    "token_logprobs",
]
