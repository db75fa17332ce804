"""HTTP: bytes to a request, an answer to bytes, and the bounds of both."""
