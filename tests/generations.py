"""A real generation service on a free loopback port."""

import sys
from pathlib import Path
from typing import Any

import httpx
from redis import Redis

from infra.local.ports import free_port
from infra.local.ready import http_answers
from slop.basis import Basis
from slop.profiles import Profile
from slop.redis.posts import FoundPost, PostRef, Posts, PostText, SentText
from slop.redis.profiles import profile_key
from tests.servers import HOST, Server


def generation_server(folder: Path, basis: Basis, **settings: object) -> tuple[Server, str]:
    """A generation service that is not started yet, and its URL; started it is alive, whatever else is away.

    Args:
        folder: where its log and basis go.
        basis: what it draws from.
        settings: more settings, as `redis_url="redis://..."`; servers that are not named are away.
    """
    port = free_port()
    url = f"http://{HOST}:{port}"
    basis.save(folder / "basis")
    away: dict[str, object] = {
        "redis_url": f"redis://{HOST}:{free_port()}/0",
        "kafka_bootstrap": f"{HOST}:{free_port()}",
        "vllm_url": f"http://{HOST}:{free_port()}/v1",
        "featurizer_url": f"http://{HOST}:{free_port()}",
    }
    generous = {"redis_timeout_s": 5, "generation_served_posts": 0}
    # tests share the machine with each other, and their engines say the same again and again
    given = away | generous | settings | {"generation_port": port, "basis_dir": folder / "basis"}
    env = {f"SLOP_{name.upper()}": str(value) for name, value in given.items()}
    command = [sys.executable, "-m", "generation"]
    log = folder / "generation.log"
    return Server(command, lambda: http_answers(f"{url}/healthz"), log, env, timeout_s=180), url


def client_of(url: str) -> httpx.Client:
    """A client of a service, patient with a machine under load."""
    return httpx.Client(base_url=url, timeout=120)


def put_profile(redis: Redis, basis: Basis, user_id: str, profile: Profile | bytes) -> None:
    """Store a profile, or any bytes, where the learner does."""
    data = profile if isinstance(profile, bytes) else profile.to_bytes()
    redis.hset(profile_key(basis.version, "default", user_id), "profile", data)  # type: ignore[arg-type]


def put_features(redis: Redis, basis: Basis, features: dict[str, Any]) -> None:
    """Store posts by id with these features, where the featurizer does."""
    found = {PostRef("default", post_id): FoundPost(PostText(post_id), x) for post_id, x in features.items()}
    posts = Posts(redis, basis)
    posts.put_texts([(ref, SentText(post.text)) for ref, post in found.items()])
    posts.put_features(found)


def damaged_profiles(basis: Basis, sound: Profile) -> dict[str, bytes]:
    """Bytes of profiles that must never be used, each by what is wrong with it."""
    from slop.v1.profile_pb2 import Profile as ProfileRecord

    def changed(name: str, value: Any, at: int = 0) -> bytes:
        record = ProfileRecord.FromString(sound.to_bytes())
        values = getattr(sound, name).copy()
        values[at] = value
        setattr(record, name, values.tobytes())
        return record.SerializeToString()

    short = ProfileRecord.FromString(sound.to_bytes())
    short.mean = short.mean[:-4]
    return {
        "nan": changed("mean", float("nan")),
        "infinite": changed("mean", float("inf"), at=1),
        "huge": changed("mean", 1e6),
        "largest_float": changed("mean", 3.4e38),
        "nan_variance": changed("variance", float("nan")),
        "negative_variance": changed("variance", -1.0),
        "wrong_length": short.SerializeToString(),
        "of_another_size": sound.to_bytes().replace(sound.mean.tobytes(), sound.mean.tobytes() * 2),
        "not_a_profile": b"\xff\xfe not a profile",
        "empty": b"",
    }
