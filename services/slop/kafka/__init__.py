"""Everything about Kafka: topics, publishing, consuming, and what becomes of records that can't be used."""
