"""Datasets of image-question-answer samples: formats in, formats out."""

from dataprophet.data.dataset import Dataset, open_dataset
from dataprophet.data.detect import FORMATS
from dataprophet.data.export import EXPORT_FORMATS, write_rows
from dataprophet.data.sample import Conversation, Problem, Sample
from dataprophet.data.validate import ValidationReport, validate

__all__ = [
    "EXPORT_FORMATS",
    "FORMATS",
    "Conversation",
    "Dataset",
    "Problem",
    "Sample",
    "ValidationReport",
    "open_dataset",
    "validate",
    "write_rows",
]
