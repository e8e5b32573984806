"""Work on many items at once, in which none harms another."""

from collections.abc import Callable, Iterable, Sequence
from typing import TypeVar

import structlog

T = TypeVar("T")
R = TypeVar("R")

log = structlog.get_logger(__name__)


def isolated(
    work: Callable[[Sequence[T]], Iterable[R]],
    items: Sequence[T],
    failed: Callable[[T, Exception], Iterable[R]],
    but: tuple[type[Exception], ...] = (),
) -> list[R]:
    """What becomes of items: of all together or, if `work` fails over them, of each by itself.

    Args:
        work: may be done again with the same items, so it must be safe to repeat.
        items: in order; `work` is called even with none.
        failed: what becomes of an item that `work` fails over by itself.
        but: errors that are no item's fault; they are raised.
    """
    try:
        return list(work(items))
    except but:
        raise
    except Exception as error:  # whatever an item does to it
        if len(items) == 1:
            return list(failed(items[0], error))
        log.warning("failed over some items, they are tried one by one", error=repr(error), items=len(items))
        return [result for item in items for result in isolated(work, [item], failed, but)]
