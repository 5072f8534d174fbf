"""The plain NumPy float64 definition of every operation: what the compiled ones must equal.

Arguments are NumPy arrays that ``dataprophet.ops`` has checked; nothing of size n x n or n x V is stored, and results
are the same bits for any number of BLAS threads.
"""

from dataprophet.reference.clusters import (
    KMeans,
    Silhouette,
    cluster_entropy,
    kmeans,
    kmeans_draws,
    silhouette_samples,
    silhouette_score,
)
from dataprophet.reference.directions import bad_rows_error, cosine_to, expected_cosine, mean_direction, nearest
from dataprophet.reference.tokens import linear_logprobs, segment_means, token_logprobs

__all__ = [
    "KMeans",
    "Silhouette",
    "bad_rows_error",
    "cluster_entropy",
    "cosine_to",
    "expected_cosine",
    "kmeans",
    "kmeans_draws",
    "linear_logprobs",
    "mean_direction",
    "nearest",
    "segment_means",
    "silhouette_samples",
    "silhouette_score",
    "token_logprobs",
]
