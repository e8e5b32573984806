"""What names a user or a post, and what a text may hold, at every service's border."""

from typing import Annotated, Final

from pydantic import Field

MAX_ID: Final = 256
MAX_TEXT: Final = 20_000

# In ids no control character and no line break of Unicode's; in texts all control characters but tab and line breaks.
Id = Annotated[str, Field(min_length=1, max_length=MAX_ID, pattern=r"^[^\x00-\x1f\x7f-\x9f\u2028\u2029]*$")]
Text = Annotated[str, Field(min_length=1, max_length=MAX_TEXT, pattern=r"^[^\x00-\x08\x0b\x0c\x0e-\x1f\x7f]*$")]
