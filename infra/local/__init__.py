"""The run without containers: the same processes, on this machine."""
