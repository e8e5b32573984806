"""Closed-loop studies of SLOP through its REST API: the demo with simulated readers, the replay of real ratings."""
