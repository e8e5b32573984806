"""Pydantic types of ids and texts in the requests of all services."""

from typing import Annotated, Final

from pydantic import Field

MAX_ID: Final = 256
MAX_TEXT: Final = 20_000

# Ids have no control characters and none of Unicode's line breaks. Of control characters, texts have only tabs and line
# breaks.
Id = Annotated[str, Field(min_length=1, max_length=MAX_ID, pattern=r"^[^\x00-\x1f\x7f-\x9f\u2028\u2029]*$")]
Text = Annotated[str, Field(min_length=1, max_length=MAX_TEXT, pattern=r"^[^\x00-\x08\x0b\x0c\x0e-\x1f\x7f]*$")]
