"""From a log to a bundle: labelled slates, time split, stacked feature models, ranker."""
