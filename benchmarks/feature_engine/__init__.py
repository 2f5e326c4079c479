"""Parts of benchmarks/features.py."""
