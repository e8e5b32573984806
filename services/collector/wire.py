"""The bodies of requests and answers (docs/api.md).

Unknown members are ignored, so that newer clients can talk to an older collector.
"""

from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, GetPydanticSchema
from pydantic_core import core_schema

from collector.fields import Context, Timestamp
from collector.rejections import Rejection, checked
from slop.fields import Id, Text
from slop.interaction_types import INTERACTION_TYPES, MAX_DWELL_MS

MAX_ITEMS: Final = 1_000
MAX_TOPICS: Final = 32
PLAIN_TYPES: Final = tuple(type_.name for type_ in INTERACTION_TYPES.values() if type_.value is None)

Status = Literal["accepted", "rejected"]


class _Wire(BaseModel):
    model_config = ConfigDict(strict=True, frozen=True, allow_inf_nan=False)


class InlinePost(_Wire):
    """The post that an event is about, sent along so that it need not be registered before."""

    text: Text


class _Event(_Wire):
    event_id: Id = Field(description="the same id is learned once, so that a retry is harmless", examples=["e-1"])
    user_id: Id = Field(examples=["ada"])
    post_id: Id = Field(examples=["p-1"])
    timestamp: Timestamp | None = None
    post: InlinePost | None = None
    context: Context | None = None


class Reaction(_Event):
    """An interaction that its type alone tells."""

    type: Annotated[str, GetPydanticSchema(lambda *_: core_schema.literal_schema(list(PLAIN_TYPES)))]
    value: None = Field(None, description="only dwell and rate have one")


class Dwell(_Event):
    """How long a post was looked at. Heartbeats of a view repeat its growing time: they count once, by the last."""

    type: Literal["dwell"]
    value: float = Field(ge=0, le=MAX_DWELL_MS, description="milliseconds in view, at most a day", examples=[4200])
    view_id: Id | None = Field(
        None, description="which view of the post it is of; without it, every `event_id` is a view", examples=["v-1"]
    )


class Rating(_Event):
    """A rating."""

    type: Literal["rate"]
    value: float = Field(ge=-1, le=1, description="from -1, the worst, to 1, the best", examples=[0.5])


Event = Reaction | Dwell | Rating


class Post(_Wire):
    """A text that a feed shows; the newest one of an id counts."""

    post_id: Id = Field(examples=["p-1"])
    text: Text = Field(examples=["The soup was better on the second day."])
    author: Id | None = None
    topics: list[Id] = Field(default=[], max_length=MAX_TOPICS)


def _example(**members: Any) -> ConfigDict:
    return ConfigDict(json_schema_extra={"examples": [members]})


_AT_MOST: Final[dict[str, Any]] = {"maxItems": MAX_ITEMS}  # said in the schema; too many are a 413, not a 422
CheckedEvent = Annotated[Event | Rejection, checked(Annotated[Event, Field(discriminator="type")])]
CheckedPost = Annotated[Post | Rejection, checked(Post)]


class EventsRequest(BaseModel):
    """Interactions, in the order in which they happened."""

    model_config = _example(
        events=[
            {"event_id": "e-1", "user_id": "ada", "type": "dwell", "post_id": "p-1", "value": 4200, "view_id": "v-1"},
            {
                "event_id": "e-2",
                "user_id": "ada",
                "type": "like",
                "post_id": "p-2",
                "timestamp": "2026-01-31T12:00:00Z",
                "post": {"text": "The soup was better on the second day."},
            },
        ]
    )

    events: list[CheckedEvent] = Field(min_length=1, json_schema_extra=_AT_MOST)


class PostsRequest(BaseModel):
    """Posts to register, so that their features are ready before reactions come."""

    model_config = _example(
        posts=[{"post_id": "p-1", "text": "The soup was better on the second day.", "author": "bo", "topics": ["food"]}]
    )

    posts: list[CheckedPost] = Field(min_length=1, json_schema_extra=_AT_MOST)


class EventResult(BaseModel):
    """What became of one event; `event_id` is absent where the client's could not be used."""

    event_id: str | None = None
    status: Status
    error: str | None = None


class EventsAnswer(BaseModel):
    """One result for every event, in the order given."""

    model_config = _example(
        results=[
            {"event_id": "e-1", "status": "accepted"},
            {
                "event_id": "e-2",
                "status": "rejected",
                "error": "invalid_value: Input should be less than or equal to 1",
            },
        ]
    )

    results: list[EventResult]


class PostResult(BaseModel):
    """What became of one post; `post_id` is absent where the client's could not be used."""

    post_id: str | None = None
    status: Status
    error: str | None = None


class PostsAnswer(BaseModel):
    """One result for every post, in the order given."""

    model_config = _example(results=[{"post_id": "p-1", "status": "accepted"}])

    results: list[PostResult]
