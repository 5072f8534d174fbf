"""Datasets of image-question-answer samples: formats in, formats out."""
