"""Whether a server answers: asked of the server itself, since an open port says little."""

import contextlib

import httpx
from kafka.admin import KafkaAdminClient
from kafka.errors import KafkaError
from redis import Redis
from redis.exceptions import RedisError

from infra.local.ports import is_open

TIMEOUT_S = 2.0


def redis_answers(host: str, port: int) -> bool:
    """Whether Redis answers a ping; not while it loads its data."""
    with contextlib.suppress(RedisError), Redis(host=host, port=port, socket_timeout=TIMEOUT_S) as client:
        return bool(client.ping())
    return False


def kafka_answers(host: str, port: int) -> bool:
    """Whether a broker lists its topics."""
    if not is_open(host, port):  # the client would try again, and log that, for seconds
        return False
    with contextlib.suppress(KafkaError):
        admin = KafkaAdminClient(bootstrap_servers=f"{host}:{port}", request_timeout_ms=int(TIMEOUT_S * 1000))
        try:
            admin.list_topics()
        finally:
            admin.close()
        return True
    return False


def http_answers(url: str) -> bool:
    """Whether a GET gives 200."""
    with contextlib.suppress(httpx.HTTPError):
        return httpx.get(url, timeout=TIMEOUT_S, trust_env=False).status_code == httpx.codes.OK
    return False
