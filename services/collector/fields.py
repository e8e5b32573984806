"""The types of what only the collector takes, and their limits. Nothing is coerced: a number in quotes is none."""

import json
import math
from datetime import UTC, datetime
from typing import Annotated, Final

from pydantic import AfterValidator, Field, JsonValue, PlainValidator, WithJsonSchema
from pydantic_core import PydanticCustomError

MAX_CONTEXT_BYTES: Final = 4_096
EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


def to_ms(moment: datetime) -> int:
    """Milliseconds since the epoch of a moment with an offset."""
    return round((moment - EPOCH).total_seconds() * 1000)


FIRST_MS: Final = to_ms(datetime(2000, 1, 1, tzinfo=UTC))
END_MS: Final = to_ms(datetime(2100, 1, 1, tzinfo=UTC))


def _of_iso(text: str) -> int:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise PydanticCustomError("timestamp", "Input should be ISO 8601, as 2026-01-31T12:00:00Z") from error
    if moment.tzinfo is None:
        raise PydanticCustomError("timestamp", "Input should have an offset from UTC, as the Z at its end")
    return to_ms(moment)


def _of_any(value: object) -> int:
    if isinstance(value, str):
        return _of_iso(value)
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    if isinstance(value, float) and math.isfinite(value):
        return round(value)
    raise PydanticCustomError("timestamp", "Input should be ISO 8601 text, or milliseconds since the epoch")


def _epoch_ms(value: object) -> int:
    milliseconds = _of_any(value)
    if not FIRST_MS <= milliseconds < END_MS:
        raise PydanticCustomError("timestamp", "Input should lie in the years 2000 to 2099")
    return milliseconds


def _small(context: dict[str, JsonValue]) -> dict[str, JsonValue]:
    try:
        size = len(json.dumps(context, allow_nan=False))
    except ValueError as error:
        raise PydanticCustomError("context", "Input should be JSON, which has no NaN and no infinity") from error
    if size > MAX_CONTEXT_BYTES:
        raise PydanticCustomError("context", f"Input should have at most {MAX_CONTEXT_BYTES} bytes as JSON")
    return context


Timestamp = Annotated[
    int,
    PlainValidator(_epoch_ms),
    WithJsonSchema(
        {
            "description": "the client's clock: ISO 8601 with an offset, or milliseconds since the epoch",
            "anyOf": [
                {"type": "string", "format": "date-time"},
                {"type": "number", "minimum": FIRST_MS, "exclusiveMaximum": END_MS},
            ],
        }
    ),
]
Context = Annotated[
    dict[str, JsonValue], AfterValidator(_small), Field(description=f"free JSON, at most {MAX_CONTEXT_BYTES} bytes")
]
