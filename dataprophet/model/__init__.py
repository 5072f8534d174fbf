"""A frozen multimodal language model, read through transformers: answer log-probabilities and embeddings."""

from dataprophet.model.load import load_model as load_model
from dataprophet.model.scorer import Model as Model

__all__ = ["Model", "load_model"]
