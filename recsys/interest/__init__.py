"""The text-interest model: what people were reading, as columns for the ranker."""
