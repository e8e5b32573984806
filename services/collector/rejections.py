"""Items are checked one by one: a bad one becomes a `Rejection`, and the others are taken."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

from pydantic import GetPydanticSchema, ValidationError, ValidatorFunctionWrapHandler
from pydantic_core import ErrorDetails, core_schema

MAX_DETAIL: Final = 300


class Reason(StrEnum):
    """Which part of an item was at fault; stable, and a label of metrics."""

    ITEM = "invalid_item"
    EVENT_ID = "invalid_event_id"
    USER_ID = "invalid_user_id"
    POST_ID = "invalid_post_id"
    TYPE = "invalid_type"
    VALUE = "invalid_value"
    TIMESTAMP = "invalid_timestamp"
    POST = "invalid_post"
    CONTEXT = "invalid_context"
    VIEW_ID = "invalid_view_id"
    TEXT = "invalid_text"
    AUTHOR = "invalid_author"
    TOPICS = "invalid_topics"


# Of a union that is told apart by its members' type; pydantic's own words repeat what was sent, however long it is.
_TYPE_ERRORS: Final = {
    "union_tag_invalid": "Input should be {expected_tags}",
    "union_tag_not_found": "Field required",
}
_REASONS: Final = {reason.value: reason for reason in Reason}


@dataclass(frozen=True, slots=True)
class Rejection:
    """An item that was refused.

    Attributes:
        item: what the client sent.
        reason: the part at fault.
        detail: what is wrong with it, for people; at most MAX_DETAIL characters.
    """

    item: object
    reason: Reason
    detail: str

    @property
    def error(self) -> str:
        """What the client is told."""
        return f"{self.reason}: {self.detail}"


def checked(wire: Any) -> GetPydanticSchema:
    """Annotates `Model | Rejection`: validates as `wire` would, and gives a Rejection where that fails."""
    return GetPydanticSchema(
        lambda _, handler: core_schema.no_info_wrap_validator_function(_or_rejection, handler.generate_schema(wire))
    )


def _or_rejection(item: object, validate: ValidatorFunctionWrapHandler) -> object:
    try:
        return validate(item)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        return Rejection(item, _reason(first), _detail(first)[:MAX_DETAIL])


def _reason(error: ErrorDetails) -> Reason:
    if error["type"] in _TYPE_ERRORS:
        return Reason.TYPE
    named = (_REASONS.get(f"invalid_{part}") for part in error["loc"])  # of an event the first part is its type
    return next((reason for reason in named if reason), Reason.ITEM)


def _detail(error: ErrorDetails) -> str:
    template = _TYPE_ERRORS.get(error["type"])
    return error["msg"] if template is None else template.format(**error["ctx"])
