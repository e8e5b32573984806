"""What calls SLOP from outside, for load tests, research and tests: a REST client, and simulated readers."""
