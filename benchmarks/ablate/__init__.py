"""The trials of `benchmarks/ablation.py` and what they are measured on."""
