"""What errors look like in a service's OpenAPI document."""

from http import HTTPStatus
from typing import Any

from pydantic import BaseModel, Field

from kit.problems import MEDIA_TYPE


class FieldError(BaseModel):
    """What is wrong with one field of a request."""

    at: str = Field(examples=["body/user_id"])
    error: str = Field(examples=["String should have at most 200 characters"])


class ProblemDocument(BaseModel):
    """RFC 9457."""

    type: str = Field("about:blank")
    title: str = Field(examples=["Unprocessable Content"])
    status: int = Field(examples=[422])
    detail: str = Field(examples=["the request is not valid"])
    errors: list[FieldError] | None = None


def problem_responses(meanings: dict[HTTPStatus, str]) -> dict[int | str, dict[str, Any]]:
    """The `responses` of a route whose errors are problem documents."""
    schema = {"schema": ProblemDocument.model_json_schema(ref_template="#/components/schemas/{model}")}
    schema["schema"].pop("$defs")
    return {int(status): {"description": text, "content": {MEDIA_TYPE: schema}} for status, text in meanings.items()}
