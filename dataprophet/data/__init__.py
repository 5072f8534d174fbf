"""Datasets of image-question-answer samples: formats in, formats out."""

from dataprophet.data.dataset import Dataset as Dataset
from dataprophet.data.export import EXPORT_FORMATS as EXPORT_FORMATS
from dataprophet.data.export import write_rows as write_rows
from dataprophet.data.formats.detect import formats as formats
from dataprophet.data.opening import open_dataset as open_dataset
from dataprophet.data.sample import Conversation as Conversation
from dataprophet.data.sample import Problem as Problem
from dataprophet.data.sample import Sample as Sample
from dataprophet.data.validate import ValidationReport as ValidationReport
from dataprophet.data.validate import validate as validate
