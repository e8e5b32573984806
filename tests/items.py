"""Valid events and posts, with members to replace."""

from typing import Any


def event(**members: Any) -> dict[str, Any]:
    return {"event_id": "e", "user_id": "u", "post_id": "p", "type": "like"} | members


def post(**members: Any) -> dict[str, Any]:
    return {"post_id": "p", "text": "t"} | members
