"""Where rows to score come from: a dataset, features of the user's, or the embeddings of a scored folder."""
