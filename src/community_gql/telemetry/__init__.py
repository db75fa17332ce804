"""What is seen of the server from outside: metrics, traces, and ids that tie them to the log."""
