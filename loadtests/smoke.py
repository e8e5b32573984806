"""`python -m loadtests.smoke` (`make smoke`): does a running stack work, end to end, through its published ports?

A line for every check; ends with 1 if one does not hold.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from enum import Enum
from typing import Final

import httpx
from pydantic import ValidationError
from rich.console import Console
from rich.text import Text

from client.console import console_for_tables
from client.errors import UserError
from client.rest import Rest
from loadtests.checks import CHECKS, Check
from loadtests.settings import StackSettings, WrongSettings, in_words
from loadtests.stack import CheckedStack, Failed, Skipped

HTTP_TIMEOUT_S: Final = 60.0
CONCURRENCY: Final = 4


class CheckResult(Enum):
    """How a check ended, with its mark and its colour."""

    HOLDS = ("✓", "green")
    FAILED = ("✗", "red")
    SKIPPED = ("-", "dim")

    def __init__(self, mark: str, style: str) -> None:
        self.mark, self.style = mark, style


async def checked(check: Check, stack: CheckedStack) -> tuple[CheckResult, str]:
    """How a check ended, and what was seen."""
    limit_s = stack.settings.smoke_timeout_s
    try:
        async with asyncio.timeout(limit_s):
            return CheckResult.HOLDS, await check.run(stack)
    except Skipped as skipped:
        return CheckResult.SKIPPED, str(skipped)
    except TimeoutError:
        return CheckResult.FAILED, f"not within {limit_s:.0f} s"
    except (Failed, UserError) as error:
        return CheckResult.FAILED, str(error)
    except httpx.HTTPError as error:
        return CheckResult.FAILED, f"{type(error).__name__}: {error}"
    except (KeyError, IndexError, TypeError, ValueError) as error:
        return CheckResult.FAILED, f"an answer is not as documented: {error!r}"


async def smoke(settings: StackSettings, console: Console, checks: Sequence[Check] = CHECKS) -> bool:
    """Make all checks, one after the other, with a line for each; returns whether all hold."""
    results = []
    async with _connected(settings) as stack:
        for check in checks:
            started = time.monotonic()
            result, seen = await checked(check, stack)
            results.append(result)
            _tell(console, check, result, seen, time.monotonic() - started)
    failed = results.count(CheckResult.FAILED)
    summary = f"{failed} of {len(checks)} do not hold" if failed else "everything works"
    console.print(summary, style="red" if failed else "green", highlight=False)
    return not failed


def _tell(console: Console, check: Check, result: CheckResult, seen: str, seconds: float) -> None:
    line = Text.assemble((f"{result.mark} {check.name:<44}", result.style), f" {seconds:5.1f} s  {seen}")
    console.print(line, soft_wrap=True)
    if result is CheckResult.FAILED:
        console.print(Text(f"  what to do: {check.advice}", "yellow"), soft_wrap=True)


@asynccontextmanager
async def _connected(settings: StackSettings) -> AsyncIterator[CheckedStack]:
    async with AsyncExitStack() as opened:
        collector = await opened.enter_async_context(Rest(settings.collector, CONCURRENCY, HTTP_TIMEOUT_S))
        generation = await opened.enter_async_context(Rest(settings.generation, CONCURRENCY, HTTP_TIMEOUT_S))
        http = await opened.enter_async_context(httpx.AsyncClient(timeout=HTTP_TIMEOUT_S, trust_env=False))
        yield CheckedStack(settings, collector, generation, http)


def main() -> int:
    """The command line; returns the exit status."""
    console = console_for_tables()
    try:
        return 0 if asyncio.run(smoke(settings_or_advice(), console)) else 1
    except WrongSettings as error:
        console.print(str(error), style="red", markup=False, soft_wrap=True)
        return 1
    except KeyboardInterrupt:
        console.print("stopped")
        return 130


def settings_or_advice() -> StackSettings:
    """Where the stack listens.

    Raises:
        WrongSettings: a setting is not valid.
    """
    try:
        return StackSettings()
    except ValidationError as error:
        raise WrongSettings(in_words(error)) from error


if __name__ == "__main__":
    raise SystemExit(main())
