"""The transfer lab: fine-tunes a model on each source, measures the gains on each target, and compares predictors."""
