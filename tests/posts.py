"""Posts that tests write to the log."""

from collections.abc import Iterable, Sequence
from contextlib import closing

from kafka import KafkaProducer

from slop.kafka.brokers import create_topics
from slop.kafka.log import whole_log
from slop.kafka.topics import POSTS, encode, key_of
from slop.settings import CommonSettings
from slop.v1.post_pb2 import Post
from tests.learners import wait_until


def people_posts(name: str, count: int) -> list[Post]:
    """Different posts, as the collector publishes them; the last is the newest."""
    ids = [f"{name}-{number}" for number in range(count)]
    return [
        Post(tenant="default", post_id=post_id, text=f"The {post_id} dog barks over the garden", created_at_ms=number)
        for number, post_id in enumerate(ids)
    ]


def publish_posts(bootstrap: str, posts: Sequence[Post], deleted: Iterable[Post] = ()) -> None:
    """Write posts to their topic, then tombstones of those that are deleted, until all of them can be read."""
    create_topics(bootstrap)
    records = [(key_of(post), encode(post)) for post in posts] + [(key_of(post), None) for post in deleted]
    with closing(KafkaProducer(bootstrap_servers=bootstrap)) as producer:
        for future in [producer.send(POSTS.name, key=key, value=value) for key, value in records]:
            future.get(timeout=30)
    settings = CommonSettings(_env_file=None, kafka_bootstrap=bootstrap)
    wait_until(lambda: set(records) <= {(record.key, record.value) for record in whole_log(settings, POSTS)})
