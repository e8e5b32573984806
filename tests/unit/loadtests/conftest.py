"""locust is imported here first, and kept from replacing the standard library under all other tests."""

import pytest

with pytest.MonkeyPatch.context() as patch:
    patch.setenv("LOCUST_SKIP_MONKEY_PATCH", "1")
    import locust  # noqa: F401
