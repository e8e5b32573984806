"""The bodies of OpenAI's chat completions and models, as far as they are read and written here."""

from enum import StrEnum
from typing import Annotated, Any, Final, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from generation.contracts import MAX_POSTS, Personalization
from slop.fields import Id

MAX_STOPS: Final = 4
MAX_TOP_LOGPROBS: Final = 20
MAX_MESSAGES: Final = 2_048
MAX_TOKENS: Final = 1_048_576  # more than any model's context

EXAMPLE: Final[dict[str, Any]] = {
    "model": "slop",
    "user": "ada",
    "messages": [{"role": "user", "content": "Write a short post."}],
}

_TokenId = Annotated[str, Field(pattern=r"^[0-9]{1,7}$")]
_Bias = Annotated[float, Field(ge=-100, le=100)]
_Stops = Annotated[list[Annotated[str, Field(min_length=1)]], Field(max_length=MAX_STOPS)]


class _Body(BaseModel):
    """A part of a request. Types are exact; members that are not known are kept, and looked at later."""

    model_config = ConfigDict(extra="allow", strict=True, allow_inf_nan=False)


class TextPart(_Body):
    """The only kind of content part that is read."""

    type: Literal["text"]
    text: str


class MessageRole(StrEnum):
    """Who speaks. `developer` is OpenAI's newer name of `system`."""

    SYSTEM = "system"
    DEVELOPER = "developer"
    USER = "user"
    ASSISTANT = "assistant"


class Message(_Body):
    """A message of a chat."""

    role: Annotated[MessageRole, Field(strict=False)]
    content: str | list[TextPart] = Field(examples=["Write a short post about rain."])

    @property
    def text(self) -> str:
        """Its text; parts follow each other with nothing between them but a line break."""
        if isinstance(self.content, str):
            return self.content
        return "\n".join(part.text for part in self.content)


class StreamOptions(_Body):
    """What else a streamed answer has."""

    include_usage: bool | None = Field(None, description="one more chunk at the end, with the usage and no choice")


class ChatRequest(_Body):
    """A chat to answer. Whatever else OpenAI's API takes is ignored and said in `warnings`, or refused."""

    model_config = ConfigDict(json_schema_extra={"examples": [EXAMPLE]})

    model: str = Field(min_length=1, description="a model that `GET /v1/models` lists", examples=["slop"])
    messages: list[Message] = Field(min_length=1, max_length=MAX_MESSAGES)
    user: Id | None = Field(None, description="the reader; without one the answer is plain", examples=["ada"])
    n: int | None = Field(None, ge=1, le=MAX_POSTS, description="how many answers; several show several tastes")
    max_completion_tokens: int | None = Field(None, ge=1, le=MAX_TOKENS, description="of each answer")
    max_tokens: int | None = Field(
        None, ge=1, le=MAX_TOKENS, description="OpenAI's former name of max_completion_tokens"
    )
    temperature: float | None = Field(None, ge=0, le=2)
    top_p: float | None = Field(None, gt=0, le=1)
    presence_penalty: float | None = Field(None, ge=-2, le=2)
    frequency_penalty: float | None = Field(None, ge=-2, le=2)
    logit_bias: dict[_TokenId, _Bias] | None = Field(None, description="by token ids of the engine's model")
    stop: str | _Stops | None = Field(None, description="texts at which an answer ends, without them")
    logprobs: bool | None = None
    top_logprobs: int | None = Field(None, ge=0, le=MAX_TOP_LOGPROBS)
    stream: bool | None = None
    stream_options: StreamOptions | None = Field(None)
    strength: float | None = Field(
        None, gt=0, le=4, description="not OpenAI's: below 1 more of the weaker tastes, above 1 more of the strongest"
    )

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.max_tokens is not None and self.max_completion_tokens is not None:
            raise ValueError("max_tokens: give it or max_completion_tokens, not both")
        if self.top_logprobs is not None and not self.logprobs:
            raise ValueError("top_logprobs: needs logprobs to be true")
        if self.stream_options is not None and not self.stream:
            raise ValueError("stream_options: needs stream to be true")
        if self.stop == "":
            raise ValueError("stop: an empty text would end every answer")
        return self


class Warned(BaseModel):
    """A parameter that the answer was written without."""

    param: str = Field(examples=["seed"])
    message: str = Field(examples=["ignored: the engine draws without a seed"])


class UsageCounts(BaseModel):
    """What the engine has read and written, drafts that were written again included."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int


class AnswerMessage(BaseModel):
    """The message that was written."""

    role: Literal["assistant"] = "assistant"
    content: str
    refusal: None = None


class Choice(BaseModel):
    """One answer; its `post_id` is what interactions refer to."""

    index: int
    message: AnswerMessage
    logprobs: dict[str, Any] | None
    finish_reason: str = Field(examples=["stop"])
    post_id: str = Field(examples=["gen-0b9c9ef34a6f4a3fa5dc1a3b3a9a7c51"])


class ChatCompletion(BaseModel):
    """OpenAI's object, with what the reader's profile did and what was ignored."""

    id: str = Field(examples=["chatcmpl-6d0a2b8f3c1e4f8e9a7b5c3d1e2f4a6b"])
    object: Literal["chat.completion"] = "chat.completion"
    created: int = Field(description="seconds since the epoch")
    model: str
    system_fingerprint: str = Field(description="changes with the basis", examples=["fp_3f2a9c01d4be"])
    choices: list[Choice]
    usage: UsageCounts
    personalization: Personalization
    warnings: list[Warned] = Field(description="parameters that were ignored")


class Model(BaseModel):
    """A model that chats can be answered by."""

    id: str = Field(examples=["slop"])
    object: Literal["model"] = "model"
    created: int = Field(description="when this service began to serve it, in seconds since the epoch")
    owned_by: str = "slop"


class ModelList(BaseModel):
    """All models."""

    object: Literal["list"] = "list"
    data: list[Model]


class ErrorDetail(BaseModel):
    """What went wrong, in OpenAI's words."""

    message: str
    type: str = Field(examples=["invalid_request_error"])
    param: str | None = Field(examples=["messages[0].content"])
    code: str | None = Field(examples=["model_not_found"])


class ErrorDocument(BaseModel):
    """OpenAI's shape of errors."""

    error: ErrorDetail
