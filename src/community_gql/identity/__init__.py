"""Who sends a request: tokens, sessions, sign-in and accounts."""
