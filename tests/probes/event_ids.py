"""Prints the id of every interaction in the log; run in a container that has the services' settings and packages."""

import time

from kafka import KafkaConsumer, TopicPartition

from slop.kafka.topics import INTERACTIONS
from slop.settings import CommonSettings
from slop.v1.interaction_pb2 import Interaction

deadline = time.monotonic() + 60
consumer = KafkaConsumer(bootstrap_servers=CommonSettings().kafka_bootstrap, enable_auto_commit=False)
ends = consumer.end_offsets([TopicPartition(INTERACTIONS.name, index) for index in range(INTERACTIONS.partitions)])
consumer.assign(list(ends))
consumer.seek_to_beginning()
while any(consumer.position(partition) < end for partition, end in ends.items()):
    if time.monotonic() > deadline:
        raise TimeoutError("the log is not read to its end")
    for records in consumer.poll(timeout_ms=500).values():
        for record in records:
            print(Interaction.FromString(record.value).event_id)
consumer.close()
