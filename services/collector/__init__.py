"""The collector: takes interactions and posts over HTTP and says 202 for what Kafka has acknowledged."""
