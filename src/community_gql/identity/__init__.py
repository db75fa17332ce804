"""Who is asking: tokens and where they come from."""
