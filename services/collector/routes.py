"""`POST /v1/events` and `POST /v1/posts`."""

from http import HTTPStatus
from typing import Any, Final

from fastapi import APIRouter

from collector.intake import Intake
from collector.wire import EventsAnswer, EventsRequest, PostsAnswer, PostsRequest
from kit.problems import MEDIA_TYPE
from slop.kafka.topics import INTERACTIONS, POSTS

EVENTS_PATH: Final = "/v1/events"
POSTS_PATH: Final = "/v1/posts"

_PROBLEM: Final = {
    "type": "object",
    "properties": {
        "type": {"type": "string"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string"},
        "code": {"type": "string", "description": "which failure this is, for programs"},
        "results": {"type": "array", "items": {"type": "object"}, "description": "one for every item, where it helps"},
        "errors": {"type": "array", "items": {"type": "object"}, "description": "where the body as a whole is wrong"},
    },
    "required": ["type", "title", "status", "detail"],
}
_RETRY: Final = {"Retry-After": {"schema": {"type": "integer"}, "description": "seconds"}}


def _problem(description: str, *, passes: bool = False) -> dict[str, Any]:
    answer: dict[str, Any] = {"description": description, "content": {MEDIA_TYPE: {"schema": _PROBLEM}}}
    return answer | ({"headers": _RETRY} if passes else {})


_PROBLEMS: Final[dict[int | str, dict[str, Any]]] = {
    400: _problem("The body is not JSON."),
    408: _problem("The body did not arrive in time.", passes=True),
    413: _problem("The body has more than 512 KB, or more than 1,000 items. Split it."),
    415: _problem("The body was not sent as application/json."),
    422: _problem("Nothing was valid; `results` or `errors` says why. Sending it again does not help."),
    429: _problem("Too much is waiting for Kafka.", passes=True),
    503: _problem(
        "Kafka is away, or did not acknowledge every valid item in time. Some may have been published: send the whole "
        "request again, which is harmless, because an `event_id` is learned once.",
        passes=True,
    ),
}


def routes(intake: Intake) -> APIRouter:
    """The collector's own routes."""
    router = APIRouter(tags=["collector"], responses=_PROBLEMS)

    @router.post(
        EVENTS_PATH, status_code=HTTPStatus.ACCEPTED, response_model=EventsAnswer, response_model_exclude_unset=True
    )
    async def events(request: EventsRequest) -> dict[str, Any]:
        """Take interactions.

        Every event is checked by itself. 202 says that Kafka has acknowledged all those that are `accepted`; a
        user's events keep the order in which they were sent. At most 1,000 events and 512 KB.
        """
        return {"results": await intake.take(request.events, INTERACTIONS, "event_id")}

    @router.post(
        POSTS_PATH, status_code=HTTPStatus.ACCEPTED, response_model=PostsAnswer, response_model_exclude_unset=True
    )
    async def posts(request: PostsRequest) -> dict[str, Any]:
        """Register posts, so that what they say is known before reactions to them come.

        Every post is checked by itself. 202 says that Kafka has acknowledged all those that are `accepted`. At most
        1,000 posts and 512 KB.
        """
        return {"results": await intake.take(request.posts, POSTS, "post_id")}

    return router
