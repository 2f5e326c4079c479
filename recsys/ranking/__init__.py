"""The ranker over all feature columns, and the metrics that rankings are measured by."""
