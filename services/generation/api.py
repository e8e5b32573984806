"""The HTTP routes."""

from http import HTTPStatus
from typing import Annotated, Any, Final

from fastapi import APIRouter, Path, Query, Request
from fastapi.responses import Response

from generation.callers import caller_of
from generation.contracts import (
    MAX_POSTS,
    FeedResponse,
    GenerateRequest,
    GenerateResponse,
    ProfileResponse,
    RankRequest,
    RankResponse,
)
from generation.events import EVENT_SCHEMA, EVENT_STREAM, EXAMPLE, GenerateEvents, event_stream
from generation.feed import Feed
from generation.generate import answer_of, writing_request_of
from generation.serving import BasisSwitch
from generation.tasks import while_connected
from kit.openapi import problem_responses
from slop.fields import Id

_BAD_BODY: Final = {
    HTTPStatus.BAD_REQUEST: "the body is not JSON",
    HTTPStatus.REQUEST_TIMEOUT: "the body did not arrive in time; see Retry-After",
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE: "the body is too large",
    HTTPStatus.UNSUPPORTED_MEDIA_TYPE: "the body was not sent as application/json",
    HTTPStatus.UNPROCESSABLE_ENTITY: "a field is missing, unknown, or not valid; `errors` says which",
}
_TOO_MUCH: Final = "too much for one reader, API key or address at a time; see Retry-After"
_AWAY: Final = "the engine, or what else is needed, does not answer, is overloaded, or takes too long; see Retry-After"
_NOT_UNDERSTOOD: Final = "the engine or the featurizer does not fit this service's basis"

_GENERATE: Final[dict[int | str, dict[str, Any]]] = {
    HTTPStatus.OK: {
        "description": "posts; with `stream`, pieces of posts as unnamed events, then `done` with the whole answer, "
        "or `error` with a problem document",
        "content": {EVENT_STREAM: {"schema": EVENT_SCHEMA, "example": EXAMPLE}},
    }
} | problem_responses(
    _BAD_BODY
    | {
        HTTPStatus.TOO_MANY_REQUESTS: _TOO_MUCH,
        HTTPStatus.BAD_GATEWAY: _NOT_UNDERSTOOD,
        HTTPStatus.SERVICE_UNAVAILABLE: _AWAY,
    }
)
_RANK: Final = problem_responses(
    _BAD_BODY | {HTTPStatus.BAD_GATEWAY: _NOT_UNDERSTOOD, HTTPStatus.SERVICE_UNAVAILABLE: _AWAY}
)
_FEED: Final = problem_responses(
    {
        HTTPStatus.UNPROCESSABLE_ENTITY: "the id or `n` is not valid",
        HTTPStatus.TOO_MANY_REQUESTS: _TOO_MUCH,
        HTTPStatus.BAD_GATEWAY: _NOT_UNDERSTOOD,
        HTTPStatus.SERVICE_UNAVAILABLE: _AWAY,
    }
)
_PROFILE: Final = problem_responses(
    {
        HTTPStatus.NOT_FOUND: "nothing has been learned of this reader",
        HTTPStatus.UNPROCESSABLE_ENTITY: "the id is not valid",
        HTTPStatus.INTERNAL_SERVER_ERROR: "the stored profile is damaged",
        HTTPStatus.SERVICE_UNAVAILABLE: "Redis does not answer; see Retry-After",
    }
)


def generation_router(switch: BasisSwitch, feed: Feed) -> APIRouter:
    """The routes of the service. A request is answered to its end under the basis that was live when it came."""
    router = APIRouter(prefix="/v1")

    @router.post("/generate", response_model=GenerateResponse, responses=_GENERATE, tags=["posts"])
    async def generate(request: GenerateRequest, http: Request) -> Response | GenerateResponse:
        """Write posts in a reader's taste; plain posts where there is no profile that may be used."""
        asked = writing_request_of(request, caller_of(http))
        if request.stream:
            return await event_stream(http, switch.serving.writer.stream(asked), GenerateEvents())
        return answer_of(await while_connected(http, switch.serving.writer.write(asked)))

    @router.post("/rank", responses=_RANK, tags=["posts"])
    async def rank(request: RankRequest, http: Request) -> RankResponse:
        """Score posts by how much they are to a reader's taste, or to the crowd's where no profile may be used."""
        return await while_connected(http, switch.serving.ranker.rank(request))

    @router.get("/users/{user_id:path}/feed", responses=_FEED, tags=["posts"])
    async def next_posts(
        user_id: Annotated[Id, Path(description="the reader", examples=["ada"])],
        http: Request,
        n: Annotated[int, Query(ge=1, le=MAX_POSTS, description="how many posts")] = 5,
    ) -> FeedResponse:
        """The next posts of a reader's feed, each of which is given out once; written ahead for active readers."""
        return await while_connected(http, feed.posts(user_id, n, switch.serving.writer, caller_of(http)))

    @router.get("/users/{user_id:path}/profile", responses=_PROFILE, tags=["readers"])
    async def profile(user_id: Annotated[Id, Path(description="the reader", examples=["ada"])]) -> ProfileResponse:
        """Describe what was learned of a reader, in words."""
        return await switch.serving.describer.describe(user_id)

    return router
