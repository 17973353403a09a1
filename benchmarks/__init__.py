"""Measurements of nidan against a model server that answers at a known pace. How and what: benchmarks/README.md."""
