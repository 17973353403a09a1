"""Whether a lesson survives its models: each fault of a list in one lesson through the real trio."""
