"""Features: one definition, run over the whole log for training and incrementally for serving."""
