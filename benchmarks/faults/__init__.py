"""The fault matrix: each fault of a list happens to one lesson in the real trio."""
