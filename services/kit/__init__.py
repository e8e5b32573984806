"""Domain-free helpers that the services share: HTTP problems, health, logs."""
