"""Images of samples: where their bytes are, and how they are decoded."""
