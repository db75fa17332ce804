"""What `serve` does without: the embedded PostgreSQL, seeding, pictures, comparisons."""
