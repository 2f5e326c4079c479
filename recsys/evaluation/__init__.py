"""Measuring: rankings on the newest requests, and equality of the two executions."""
