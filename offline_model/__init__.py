"""The embedded default: an OpenAI-compatible HTTP server that answers from lessons written by hand, offline."""
