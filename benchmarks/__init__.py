"""The benchmark: this project beside others, on one database (README.md)."""
