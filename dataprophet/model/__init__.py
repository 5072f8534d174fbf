"""A frozen multimodal language model, read through transformers: answer log-probabilities and embeddings."""

from dataprophet.model.load import from_transformers as from_transformers
from dataprophet.model.load import load_model as load_model
from dataprophet.model.model import Model as Model

__all__ = ["Model", "from_transformers", "load_model"]
