"""The plain NumPy float64 definition of every operation: what the compiled ones must equal.

Arguments are NumPy arrays that ``dataprophet.ops`` has checked; nothing of size n x n or n x V is stored, and results
are the same bits for any number of BLAS threads.
"""

from dataprophet.ops.reference.clusters import KMeans as KMeans
from dataprophet.ops.reference.clusters import cluster_entropy as cluster_entropy
from dataprophet.ops.reference.clusters import entropy_of_counts as entropy_of_counts
from dataprophet.ops.reference.clusters import kmeans as kmeans
from dataprophet.ops.reference.clusters import kmeans_draws as kmeans_draws
from dataprophet.ops.reference.directions import SUM_UNIT as SUM_UNIT
from dataprophet.ops.reference.directions import RowMeasures as RowMeasures
from dataprophet.ops.reference.directions import average_directions as average_directions
from dataprophet.ops.reference.directions import bad_rows_error as bad_rows_error
from dataprophet.ops.reference.directions import cosine_to as cosine_to
from dataprophet.ops.reference.directions import expected_cosine as expected_cosine
from dataprophet.ops.reference.directions import mean_direction as mean_direction
from dataprophet.ops.reference.directions import measure_rows as measure_rows
from dataprophet.ops.reference.directions import nearest as nearest
from dataprophet.ops.reference.diversity import Diversity as Diversity
from dataprophet.ops.reference.diversity import diversity as diversity
from dataprophet.ops.reference.silhouette import Silhouette as Silhouette
from dataprophet.ops.reference.silhouette import silhouette_samples as silhouette_samples
from dataprophet.ops.reference.silhouette import silhouette_score as silhouette_score
from dataprophet.ops.reference.silhouette import silhouettes as silhouettes
from dataprophet.ops.reference.tokens import LogprobParts as LogprobParts
from dataprophet.ops.reference.tokens import TokenDetails as TokenDetails
from dataprophet.ops.reference.tokens import linear_details as linear_details
from dataprophet.ops.reference.tokens import linear_logprobs as linear_logprobs
from dataprophet.ops.reference.tokens import logprob_parts as logprob_parts
from dataprophet.ops.reference.tokens import merge_logprobs as merge_logprobs
from dataprophet.ops.reference.tokens import segment_means as segment_means
from dataprophet.ops.reference.tokens import token_details as token_details
from dataprophet.ops.reference.tokens import token_logprobs as token_logprobs
