"""The bodies of the HTTP API's requests and answers."""

from enum import StrEnum
from typing import Annotated, Final, Self

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, model_validator

from slop.arms import Arm
from slop.fields import Id, Text
from slop.settings import MAX_CANDIDATES

MAX_POSTS: Final = 16
MAX_RANKED: Final = 500
MAX_EXCLUDED: Final = 100
MAX_PROMPT: Final = 2_000


class Request(BaseModel):
    """A request body, with exact types and no unknown fields: nothing that a client sends is silently ignored."""

    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)


class NamedPost(Request):
    """A post: a known one by its id, or any text."""

    post_id: Id | None = Field(None, examples=["post-1"])
    text: Text | None = Field(None, examples=[None])

    @model_validator(mode="after")
    def _one_of_both(self) -> Self:
        if (self.post_id is None) == (self.text is None):
            raise ValueError("give exactly one of post_id and text")
        return self


class GenerateRequest(Request):
    """Posts for a reader."""

    user_id: Id = Field(description="the reader", examples=["ada"])
    system: Text | None = Field(
        None, description="your system text, which the reader's taste comes after", examples=[None]
    )
    prompt: Annotated[Text, Field(max_length=MAX_PROMPT)] | None = Field(
        None, description="what to write; by default any short post", examples=[None]
    )
    n: int = Field(1, ge=1, le=MAX_POSTS, description="how many posts; several show several tastes")
    candidates: int | None = Field(
        None,
        ge=1,
        le=MAX_CANDIDATES,
        description="texts written for each post, of which those most to the reader's taste are served; at most "
        f"{MAX_CANDIDATES} for all posts together; by default as the service is set up, which is 1",
        examples=[1],
    )
    max_tokens: int | None = Field(None, ge=1, le=512, description="of each post", examples=[60])
    temperature: float | None = Field(None, ge=0, le=2, examples=[0.8])
    strength: float = Field(
        1.0, gt=0, le=4, description="below 1 more of the weaker tastes, above 1 more of the strongest"
    )
    stream: bool = Field(False, description="answer with server-sent events")
    exclude: list[NamedPost] = Field(
        default_factory=list,
        max_length=MAX_EXCLUDED,
        description="posts that are not to be written again, besides those that the reader was served lately",
        examples=[[]],
    )

    @model_validator(mode="after")
    def _not_too_many_candidates(self) -> Self:
        if self.n * (self.candidates or 1) > MAX_CANDIDATES:
            raise ValueError(f"n x candidates is at most {MAX_CANDIDATES}")
        return self


class Reason(StrEnum):
    """Why an answer is personal, or why it isn't."""

    PERSONALIZED = "personalized"
    NO_PROFILE = "no_profile"
    NO_TASTE = "no_taste"
    NO_LIKES = "no_likes"
    CROWD = "crowd"
    CONTROL = "control"
    NO_USER = "no_user"
    UNSAFE_PROFILE = "unsafe_profile"
    REDIS_UNAVAILABLE = "redis_unavailable"


class Personalization(BaseModel):
    """What the reader's profile did to an answer."""

    applied: bool = Field(description="whether the profile was used")
    reason: Reason
    interactions: int = Field(description="signals that the profile has learned", examples=[16])
    basis: str = Field(description="version of the basis", examples=["3f2a9c01d4be"])
    arm: Arm
    experiment: str | None = Field(None, description="the experiment that assigned the arm; null outside of any")


class GeneratedPost(BaseModel):
    """A post; its id is what interactions refer to."""

    post_id: str = Field(examples=["gen-0b9c9ef34a6f4a3fa5dc1a3b3a9a7c51"])
    text: str = Field(examples=["Repotted the basil today. It has already forgiven me."])


class GenerateResponse(BaseModel):
    """Posts, in no order of preference."""

    posts: list[GeneratedPost]
    personalization: Personalization


class FeedPost(GeneratedPost):
    """A post of a reader's feed."""

    arm: str = Field(description="of the experiment; it was written in", examples=["soft"])
    pregenerated: bool = Field(description="whether it was written before it was asked for")


class FeedResponse(BaseModel):
    """The next posts of a reader's feed, each of which is given out once."""

    posts: list[FeedPost]


class PostDelta(BaseModel):
    """A streamed piece of a post; `post` is the post's index in the final answer."""

    post: int
    text: str


class RankRequest(Request):
    """Posts to rank for a reader."""

    user_id: Id = Field(description="the reader", examples=["ada"])
    posts: list[NamedPost] = Field(min_length=1, max_length=MAX_RANKED)


class RankResponse(BaseModel):
    """Scores in the order of the posts asked for."""

    scores: list[float | None] = Field(
        description="higher: more to the reader's taste; null: the post is not known, or its features aren't ready yet",
        examples=[[0.83, -0.12, None]],
    )
    personalization: Personalization


class Taste(BaseModel):
    """One taste of a reader."""

    share: float = Field(description="of the reader's generated posts, 0 to 1", examples=[0.82])
    words: list[str] = Field(examples=[["soil", "tomatoes", "seedlings", "compost"]])


class ProfileResponse(BaseModel):
    """What was learned of a reader, in words."""

    user_id: str = Field(examples=["ada"])
    interactions: int = Field(description="signals that were learned", examples=[16])
    version: int = Field(description="grows whenever something is learned", examples=[16])
    updated_at: AwareDatetime
    tastes: list[Taste] = Field(description="strongest first")
    topics: list[Taste] = Field(description="as tastes; its former name", json_schema_extra={"deprecated": True})
    uncertainty: float = Field(description="1: nothing is known yet; towards 0: sure of every taste", examples=[0.7])
    basis: str = Field(description="version of the basis", examples=["3f2a9c01d4be"])
