"""What load tests, research and tests share: a REST client, simulated readers, and the labelled catalogue."""
