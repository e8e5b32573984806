"""What is not a stream: building bases, nightly snapshots of the profiles, a census of them. Celery on Redis."""
