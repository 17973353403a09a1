"""The embedded default: an offline OpenAI-compatible HTTP server that answers from hand-written lessons."""
