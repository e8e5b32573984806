"""The generation service with a real Redis and broker, and no engine: what needs none, and what is said without one."""

import json
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any, ClassVar

import httpx
import numpy as np
import pytest
from redis import Redis

from slop.copies import KnownPosts
from slop.profiles import scores
from slop.redis.posts import PostRef, Posts, PostText, features_key, text_digest
from slop.tensor_wire import torch_base64
from tests.basis import profile_of, random_basis, spread_over, style_subject_for
from tests.generations import client_of, damaged_profiles, generation_server, put_features, put_profile
from tests.servers import HOST
from tests.waiting import eventually

BASIS = random_basis()
ADA = profile_of(BASIS, (1.5, -1.0, 0.5, -0.2))
EYES = np.eye(BASIS.text_size, dtype=np.float32)
FEATURES = {f"post-{k}": row for k, row in enumerate(EYES)}
POSTS = [{"post_id": post_id} for post_id in FEATURES]
KNOWN = "The basil has forgiven me again."
DAMAGED = damaged_profiles(BASIS, ADA)


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory, redis_url: str, kafka_bootstrap: str) -> Iterator[httpx.Client]:
    folder = tmp_path_factory.mktemp("generation")
    server, url = generation_server(folder, BASIS, redis_url=redis_url, kafka_bootstrap=kafka_bootstrap)
    server.start()
    with client_of(url) as client:
        yield client
    server.stop()


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    """A service whose Redis, Kafka, engine and featurizer are all away."""
    server, url = generation_server(tmp_path_factory.mktemp("alone"), BASIS)
    server.start()
    with client_of(url) as client:
        yield client
    server.stop()


@pytest.fixture
def stored(redis_client: Redis) -> Redis:
    put_profile(redis_client, BASIS, "ada", ADA)
    put_features(redis_client, BASIS, FEATURES)
    return redis_client


def problem(response: httpx.Response, status: int) -> dict[str, Any]:
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/problem+json"
    document: dict[str, Any] = response.json()
    assert document["status"] == status
    assert document["detail"]
    return document


def rank(service: httpx.Client, user_id: str, posts: list[dict[str, str]]) -> dict[str, Any]:
    response = service.post("/v1/rank", json={"user_id": user_id, "posts": posts})
    assert response.status_code == 200, response.text
    answer: dict[str, Any] = response.json()
    return answer


def test_posts_are_scored_by_the_readers_profile_in_the_order_given(service: httpx.Client, stored: Redis) -> None:
    answer = rank(service, "ada", POSTS[::-1])
    assert answer["scores"] == pytest.approx(scores(ADA, EYES[::-1], BASIS.blocks).tolist())
    assert answer["personalization"] == {
        "applied": True,
        "reason": "personalized",
        "interactions": 16,
        "basis": BASIS.version,
        "arm": "soft",
        "experiment": None,
    }


def test_a_post_that_is_not_known_has_no_score(service: httpx.Client, stored: Redis) -> None:
    unknown = {"post_id": "never seen"}
    answer = rank(service, "ada", [unknown, POSTS[0], unknown])
    assert answer["scores"] == [None, pytest.approx(1.5), None]


def test_a_new_reader_gets_the_crowds_scores(service: httpx.Client, stored: Redis) -> None:
    answer = rank(service, "new", POSTS)
    assert answer["scores"] == pytest.approx(BASIS.crowd_direction.tolist())
    assert (answer["personalization"]["applied"], answer["personalization"]["reason"]) == (False, "no_profile")


@pytest.mark.parametrize("damage", DAMAGED)
def test_a_damaged_profile_ranks_as_none(service: httpx.Client, stored: Redis, damage: str) -> None:
    put_profile(stored, BASIS, "ada", DAMAGED[damage])
    answer = rank(service, "ada", POSTS)
    assert answer["scores"] == pytest.approx(BASIS.crowd_direction.tolist())
    assert answer["personalization"]["reason"] == "unsafe_profile"


@pytest.mark.parametrize("features", [b"\x00" * 8, np.full(BASIS.text_size, np.nan, "<f4").tobytes(), b"abc"])
def test_damaged_features_count_as_none(service: httpx.Client, stored: Redis, features: bytes) -> None:
    key = features_key(BASIS.text_version, PostRef("default", "post-0"))
    stored.set(key, text_digest("post-0") + features)
    assert rank(service, "ada", POSTS)["scores"][0] is None


def test_a_text_needs_the_featurizer(service: httpx.Client, stored: Redis) -> None:
    response = service.post("/v1/rank", json={"user_id": "ada", "posts": [{"text": "Rain on the roof."}]})
    problem(response, 503)
    assert int(response.headers["retry-after"]) > 0


def test_a_profile_is_told_in_words_and_not_in_numbers(service: httpx.Client, stored: Redis) -> None:
    response = service.get("/v1/users/ada/profile")
    assert response.status_code == 200, response.text
    tastes = [
        {"share": pytest.approx(27 / 28, abs=1e-3), "words": ["gardening", "tomatoes", "soil", "small"]},
        {"share": pytest.approx(1 / 28, abs=1e-3), "words": ["cooking", "soup", "onions", "small"]},
    ]
    assert response.json() == {
        "user_id": "ada",
        "interactions": 16,
        "version": ADA.version,
        "updated_at": "2026-01-01T00:00:00Z",
        "tastes": tastes,
        "topics": tastes,  # the former name
        "uncertainty": 0.5,
        "basis": BASIS.version,
    }


def test_there_is_no_profile_of_a_new_reader(service: httpx.Client, redis_client: Redis) -> None:
    problem(service.get("/v1/users/new/profile"), 404)


def test_a_damaged_profile_is_not_told(service: httpx.Client, stored: Redis) -> None:
    put_profile(stored, BASIS, "ada", DAMAGED["nan"])
    problem(service.get("/v1/users/ada/profile"), 500)


@pytest.mark.parametrize("user_id", ["a/b", "ada@example.org", "Ünï ☕", "%2e%2e", "profile"])
def test_any_printable_name_is_a_user_id(service: httpx.Client, stored: Redis, user_id: str) -> None:
    put_profile(stored, BASIS, user_id, ADA)
    response = service.get(httpx.URL("/v1/users/{}/profile".format(user_id.replace("%", "%25").replace("/", "%2F"))))
    assert (response.status_code, response.json()["user_id"]) == (200, user_id)
    assert rank(service, user_id, POSTS)["personalization"]["applied"]


LONG = "u" * 10_000
BAD_FIELDS = [
    ("/v1/generate", {}, "body/user_id"),
    ("/v1/generate", {"user_id": LONG}, "body/user_id"),
    ("/v1/generate", {"user_id": ""}, "body/user_id"),
    ("/v1/generate", {"user_id": "a\nb"}, "body/user_id"),
    ("/v1/generate", {"user_id": "a\u0000b"}, "body/user_id"),
    ("/v1/generate", {"user_id": "\ud800"}, "body/user_id"),
    ("/v1/generate", {"user_id": 7}, "body/user_id"),
    ("/v1/generate", {"user_id": "ada", "prompt": ""}, "body/prompt"),
    ("/v1/generate", {"user_id": "ada", "prompt": "a\u0007b"}, "body/prompt"),
    ("/v1/generate", {"user_id": "ada", "prompt": "x" * 100_000}, "body/prompt"),
    ("/v1/generate", {"user_id": "ada", "n": 0}, "body/n"),
    ("/v1/generate", {"user_id": "ada", "n": 17}, "body/n"),
    ("/v1/generate", {"user_id": "ada", "n": "2"}, "body/n"),
    ("/v1/generate", {"user_id": "ada", "n": True}, "body/n"),
    ("/v1/generate", {"user_id": "ada", "max_tokens": 513}, "body/max_tokens"),
    ("/v1/generate", {"user_id": "ada", "temperature": 2.1}, "body/temperature"),
    ("/v1/generate", {"user_id": "ada", "temperature": float("nan")}, "body/temperature"),
    ("/v1/generate", {"user_id": "ada", "strength": 0}, "body/strength"),
    ("/v1/generate", {"user_id": "ada", "strength": float("inf")}, "body/strength"),
    ("/v1/generate", {"user_id": "ada", "stream": "yes"}, "body/stream"),
    ("/v1/generate", {"user_id": "ada", "seed": 1}, "body/seed"),
    ("/v1/generate", {"user_id": "ada", "prompt_embeds": "AAAA"}, "body/prompt_embeds"),
    ("/v1/generate", {"user_id": "ada", "prompt": [{"type": "prompt_embeds", "data": "AAAA"}]}, "body/prompt"),
    ("/v1/generate", ["ada"], "body"),
    ("/v1/rank", {"user_id": LONG, "posts": POSTS}, "body/user_id"),
    ("/v1/rank", {"user_id": "ada"}, "body/posts"),
    ("/v1/rank", {"user_id": "ada", "posts": []}, "body/posts"),
    ("/v1/rank", {"user_id": "ada", "posts": POSTS * 126}, "body/posts"),
    ("/v1/rank", {"user_id": "ada", "posts": [{}]}, "body/posts/0"),
    ("/v1/rank", {"user_id": "ada", "posts": [*POSTS, {"post_id": "p", "text": "t"}]}, f"body/posts/{len(POSTS)}"),
    ("/v1/rank", {"user_id": "ada", "posts": [{"post_id": "a\tb"}]}, "body/posts/0/post_id"),
    ("/v1/rank", {"user_id": "ada", "posts": [{"text": "x" * 100_000}]}, "body/posts/0/text"),
    ("/v1/rank", {"user_id": "ada", "posts": [{"post_id": "p", "features": [1, 2]}]}, "body/posts/0/features"),
]


@pytest.mark.parametrize(("path", "body", "at"), BAD_FIELDS)
def test_the_field_that_is_not_valid_is_named(service: httpx.Client, path: str, body: Any, at: str) -> None:
    response = service.post(path, content=json.dumps(body), headers={"content-type": "application/json"})
    assert at in {error["at"] for error in problem(response, 422)["errors"]}


@pytest.mark.parametrize("user_id", [LONG, "a%00b", "a%09b"])
def test_a_user_id_that_is_not_valid_has_no_profile(service: httpx.Client, user_id: str) -> None:
    document = problem(service.get(f"/v1/users/{user_id}/profile"), 422)
    assert document["errors"][0]["at"] == "path/user_id"


@pytest.mark.parametrize("path", ["/v1/generate", "/v1/rank"])
@pytest.mark.parametrize("body", [b"{", b'{"user_id": "ada"', b"\xff\xfe", b"user_id=ada"])
def test_what_is_not_json_is_refused(service: httpx.Client, path: str, body: bytes) -> None:
    problem(service.post(path, content=body, headers={"content-type": "application/json"}), 400)


def test_a_body_of_another_type_is_refused(service: httpx.Client) -> None:
    problem(service.post("/v1/generate", data={"user_id": "ada"}), 415)


@pytest.mark.parametrize("path", ["/v1/generate", "/v1/rank"])
def test_a_body_that_is_too_large_is_refused(service: httpx.Client, path: str) -> None:
    problem(service.post(path, json={"user_id": "ada", "prompt": "x" * 600_000}), 413)


def test_a_path_or_method_that_is_not_there_is_a_problem_too(service: httpx.Client) -> None:
    problem(service.get("/v1/nothing"), 404)
    problem(service.get("/v1/generate"), 405)


@pytest.mark.parametrize("stream", [False, True])
def test_without_an_engine_clients_are_told_when_to_come_back(
    service: httpx.Client, stored: Redis, stream: bool
) -> None:
    response = service.post("/v1/generate", json={"user_id": "ada", "n": 4, "stream": stream})
    problem(response, 503)
    assert int(response.headers["retry-after"]) > 0


class Echo(BaseHTTPRequestHandler):
    """An engine whose posts are the soft prompts that they are asked for with."""

    def do_GET(self) -> None:
        self._answer({"data": [{"id": "echo"}]})

    def do_POST(self) -> None:
        order = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        content = order["messages"][0]["content"]
        message = {"content": content if isinstance(content, str) else content[0]["data"]}  # a word or a soft prompt
        self._answer({"choices": [{"index": index, "message": message} for index in range(order["n"])]})

    def _answer(self, document: object, status: int = 200) -> None:
        self.send_response(status)
        self.end_headers()
        self.wfile.write(json.dumps(document).encode())

    def log_message(self, *_: object) -> None: ...


class Copyist(Echo):
    """An engine whose first posts are a known one, a new one and none; it does better when it is asked again."""

    asked: ClassVar[list[int]] = []

    def do_POST(self) -> None:
        order = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        texts = ["Nobody wrote this before."] * order["n"] if self.asked else [KNOWN, "The soup is new.", " "]
        if order["max_tokens"] == 1:  # to see whether it writes at all
            texts = ["Nobody"]
        else:
            self.asked.append(order["n"])
        self._answer({"choices": [{"index": at, "message": {"content": text}} for at, text in enumerate(texts)]})


class OtherModel(Echo):
    """An engine that refuses soft prompts as vLLM does when its model is wider or narrower, until it is another one."""

    is_another: ClassVar = True

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self.is_another and not isinstance(body["messages"][0]["content"], str):
            reason = "`prompt_embeds` hidden_size 8 does not match the model's hidden_size 16."
            self._answer({"error": {"message": reason, "param": "prompt_embeds", "code": 400}}, 400)
        else:
            self._answer({"choices": [{"index": at, "message": {"content": "A post."}} for at in range(body["n"])]})


@contextmanager
def engine(answers: type[BaseHTTPRequestHandler]) -> Iterator[str]:
    with ThreadingHTTPServer((HOST, 0), answers) as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        yield f"http://{HOST}:{server.server_port}/v1"
        server.shutdown()
        thread.join()


@pytest.fixture
def echo() -> Iterator[str]:
    with engine(Echo) as url:
        yield url


def test_a_post_that_copies_a_known_one_and_one_without_words_are_written_again(
    tmp_path: Path, stored: Redis, redis_url: str, kafka_bootstrap: str
) -> None:
    KnownPosts.of([KNOWN]).save(tmp_path / "basis")
    with engine(Copyist) as vllm_url:
        server, url = generation_server(
            tmp_path, BASIS, redis_url=redis_url, kafka_bootstrap=kafka_bootstrap, vllm_url=vllm_url, control_share=0
        )
        server.start()
        with client_of(url) as client:
            answer = client.post("/v1/generate", json={"user_id": "new", "n": 3}).json()
            told = client.get("/metrics").text.splitlines()
        server.stop()
    new = "Nobody wrote this before."
    assert [post["text"] for post in answer["posts"]] == [new, "The soup is new.", new]
    assert Copyist.asked == [3, 2]
    assert "slop_rewritten_posts_total 2.0" in told
    refs = [PostRef("default", post["post_id"]) for post in answer["posts"]]
    known = Posts(stored, BASIS).find(refs)
    assert [known[ref].text for ref in refs] == [PostText(post["text"], "soft", "new") for post in answer["posts"]]


def test_an_engine_whose_model_the_basis_is_not_of_is_not_ready_and_says_why(
    tmp_path: Path, stored: Redis, redis_url: str, kafka_bootstrap: str
) -> None:
    with engine(OtherModel) as vllm_url:
        server, url = generation_server(
            tmp_path, BASIS, redis_url=redis_url, kafka_bootstrap=kafka_bootstrap, vllm_url=vllm_url, control_share=0
        )
        server.start()
        with client_of(url) as client:
            eventually(lambda: client.get("/readyz").json()["checks"]["engine"].startswith("BasisMismatch"))
            personal, plain = (client.post("/v1/generate", json={"user_id": user_id}) for user_id in ("ada", "new"))
            assert "hidden_size 8" in problem(personal, 502)["detail"]
            assert plain.status_code == 200
            ready = client.get("/readyz")
            assert ready.status_code == 503
            assert "hidden_size 8" in ready.json()["checks"]["engine"]
            OtherModel.is_another = False
            eventually(lambda: client.get("/readyz").status_code == 200)
        server.stop()
    assert server.log.read_text().count("basis_does_not_fit_the_engine") == 1


def test_a_style_and_a_subject_that_a_reader_likes_are_in_one_prompt_and_counted(
    tmp_path: Path, stored: Redis, redis_url: str, kafka_bootstrap: str, echo: str
) -> None:
    style_subject = style_subject_for(BASIS, spread_over([(None, 0), (None, 3), (1, None), (2, None)]))
    style_subject.save(tmp_path / "basis")
    put_profile(stored, BASIS, "eve", profile_of(BASIS, (1.0, -1.0, -1.0, -1.0)))
    put_profile(stored, BASIS, "bob", profile_of(BASIS, (1.0, -1.0, 1.0, -1.0)))
    server, url = generation_server(
        tmp_path, BASIS, redis_url=redis_url, kafka_bootstrap=kafka_bootstrap, vllm_url=echo, control_share=0
    )
    server.start()
    with client_of(url) as client:
        answers = [client.post("/v1/generate", json={"user_id": user_id, "n": 2}).json() for user_id in ("eve", "bob")]
        told = client.get("/metrics").text.splitlines()
    server.stop()
    written = [{post["text"] for post in answer["posts"]} for answer in answers]
    assert written == [{torch_base64(BASIS.prompts[0])}, {torch_base64(style_subject.prompt(1, 0))}]
    assert [answer["personalization"]["reason"] for answer in answers] == ["personalized"] * 2
    assert "slop_composed_posts_total 2.0" in told


def test_without_redis_nothing_can_be_ranked_or_told(alone: httpx.Client) -> None:
    for response in (
        alone.post("/v1/rank", json={"user_id": "ada", "posts": POSTS}),
        alone.get("/v1/users/ada/profile"),
    ):
        problem(response, 503)
        assert int(response.headers["retry-after"]) > 0


def test_it_is_ready_only_with_an_engine_and_says_what_else_is_away(service: httpx.Client, alone: httpx.Client) -> None:
    ready = service.get("/readyz")
    assert ready.status_code == 503
    assert ready.json()["checks"].keys() == {"engine", "redis", "kafka"}
    assert ready.json()["checks"]["redis"] == "ok"
    assert alone.get("/readyz").json()["checks"]["redis"] != "ok"
    assert alone.get("/healthz").status_code == 200


def test_requests_are_counted_by_route_and_a_readers_name_is_no_label(service: httpx.Client, stored: Redis) -> None:
    assert service.get("/v1/users/ada/profile").status_code == 200
    lines = service.get("/metrics").text.splitlines()
    route = 'slop_http_request_seconds_count{method="GET",route="/v1/users/{user_id}/profile",status="200"}'
    assert any(line.startswith(route) and not line.endswith(" 0.0") for line in lines)
    assert not any("ada" in line for line in lines)
    assert 'slop_generated_posts_total{arm="base",reason="control"} 0.0' in lines


def test_the_api_describes_itself(service: httpx.Client) -> None:
    document = service.get("/openapi.json").json()
    generate = document["paths"]["/v1/generate"]["post"]["responses"]
    assert generate.keys() == {"200", "400", "408", "413", "415", "422", "429", "502", "503"}
    assert generate["200"]["content"].keys() == {"application/json", "text/event-stream"}
    assert "application/problem+json" in generate["503"]["content"]
    properties = document["components"]["schemas"]["GenerateRequest"]["properties"]
    assert properties["user_id"]["maxLength"] == 256
    assert document["paths"]["/v1/users/{user_id}/profile"]["get"]["parameters"][0]["schema"]["examples"] == ["ada"]


def test_sigterm_ends_it_cleanly(tmp_path: Path, redis_url: str, kafka_bootstrap: str) -> None:
    server, _ = generation_server(tmp_path, BASIS, redis_url=redis_url, kafka_bootstrap=kafka_bootstrap)
    server.start()
    process = server.process
    assert process is not None
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=30) in {0, -signal.SIGTERM}
    assert "Traceback" not in server.log.read_text()


def test_it_does_not_start_without_a_basis(tmp_path: Path) -> None:
    server, _ = generation_server(tmp_path, BASIS)
    (tmp_path / "basis" / "basis.json").unlink()
    with pytest.raises(RuntimeError, match="no usable basis"):
        server.start()
