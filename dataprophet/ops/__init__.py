"""Operations on arrays: the compiled core where there is one, else torch, Triton or the reference.

Arrays are NumPy arrays, torch tensors (CPU or CUDA) or anything with DLPack, of float32, float16 or bfloat16; float64
is taken too. Results come back in the library and on the device of the first argument. Rows that are all zero or hold
NaN or infinity have no direction: the operations on directions raise, naming the first such row and their number.
"""

from dataprophet.ops.backend import core_info, cuda_info, triton_available
from dataprophet.ops.clusters import cluster_entropy, kmeans, silhouette_samples, silhouette_score
from dataprophet.ops.directions import cosine_to, expected_cosine, mean_direction, measure_rows, nearest
from dataprophet.ops.diversity import diversity
from dataprophet.ops.reference import Diversity, KMeans, LogprobParts, RowMeasures, Silhouette, TokenDetails
from dataprophet.ops.tokens import (
    linear_details,
    linear_logprobs,
    logprob_parts,
    merge_logprobs,
    segment_means,
    token_details,
    token_logprobs,
)

__all__ = [
    "Diversity",
    "KMeans",
    "LogprobParts",
    "RowMeasures",
    "Silhouette",
    "TokenDetails",
    "cluster_entropy",
    "core_info",
    "cosine_to",
    "cuda_info",
    "diversity",
    "expected_cosine",
    "kmeans",
    "linear_details",
    "linear_logprobs",
    "logprob_parts",
    "mean_direction",
    "measure_rows",
    "merge_logprobs",
    "nearest",
    "segment_means",
    "silhouette_samples",
    "silhouette_score",
    "token_details",
    "token_logprobs",
    "triton_available",
]
