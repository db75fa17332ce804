"""What `serve` does not need: the embedded PostgreSQL, seeding, pictures, comparisons."""
