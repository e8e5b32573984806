"""`python -m jobs rejected`: what could not be used and why, as a person looks at it, and publishing it again.

    rejected [list] [--reason R] [--since 2h] [--limit 20]     the newest first
    rejected show ID                                           all of one, its payload decoded
    rejected replay ID... | --reason R [--since 2h]            publish again, each in the topic where it was

An id is `partition-offset` in slop.rejected.v1. Interactions may be replayed as often as one likes: an event is learned
once. The text of a replayed post is the newest one of that post again.
"""

import argparse
import json
import re
import sys
from collections.abc import Callable, Iterable, Sequence
from contextlib import closing
from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import Any, Final

from kafka.errors import KafkaError

from jobs.dead_letter_log import DeadLetter, DeadLetters, LetterId
from slop.kafka.topics import REJECTED
from slop.settings import CommonSettings

MOST_LOOKED_AT: Final = 100_000
LISTED: Final = 20
REPLAYED: Final = 10_000
_UNITS: Final = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}
_HEADINGS: Final = ("id", "when (UTC)", "reason", "service", "from", "detail")


def add_arguments(commands: Any) -> None:
    """Add the command `rejected` to a parser's commands."""
    # What is not given is left out, so that the defaults of `list` do not hide what stands before it.
    output = argparse.ArgumentParser(add_help=False, argument_default=argparse.SUPPRESS)
    output.add_argument("--json", action="store_true", help="for machines")
    which = argparse.ArgumentParser(add_help=False, argument_default=argparse.SUPPRESS, parents=[output])
    which.add_argument("--reason", help="only those with this reason, say unknown_post")
    which.add_argument("--since", type=moment, help="only those since then: 90s, 15m, 2h, 3d, or ISO 8601")
    which.add_argument("--limit", type=_positive, help=f"the newest so many: {LISTED} are listed, {REPLAYED} replayed")
    parser = commands.add_parser(
        "rejected",
        parents=[which],
        help="list, show and replay what could not be used",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    actions = parser.add_subparsers(dest="action")
    actions.add_parser("list", parents=[which], help="the newest first (the default)")
    show = actions.add_parser("show", parents=[output], help="all of one")
    show.add_argument("id", type=_id)
    again = actions.add_parser("replay", parents=[which], help="publish again")
    again.add_argument("ids", type=_id, nargs="*", metavar="ID")
    parser.set_defaults(action="list", json=False, reason=None, since=None, limit=None)


def moment(text: str) -> datetime:
    """A moment: so long ago, as 15m, or ISO 8601, in UTC unless it says otherwise."""
    if ago := re.fullmatch(r"(\d{1,6})([smhd])", text):
        return datetime.now(UTC) - timedelta(**{_UNITS[ago[2]]: int(ago[1])})
    try:
        at = datetime.fromisoformat(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r} is neither as 15m nor ISO 8601") from error
    return at if at.tzinfo else at.replace(tzinfo=UTC)


def _positive(text: str) -> int:
    if not (text.isdecimal() and int(text)):
        raise argparse.ArgumentTypeError("a whole number, 1 at least")
    return int(text)


def _id(text: str) -> LetterId:
    try:
        return LetterId.parse(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def run(settings: CommonSettings, arguments: argparse.Namespace) -> int:
    """Do what `add_arguments` took; returns the exit status."""
    actions: dict[str, Callable[[DeadLetters, argparse.Namespace], int]] = {
        "list": _list,
        "show": _show,
        "replay": _replay,
    }
    if arguments.action == "replay" and not arguments.ids and arguments.reason is None:
        return _fail("replay which? name ids, or --reason R for all with that reason")
    try:
        with closing(DeadLetters(settings)) as letters:
            return actions[arguments.action](letters, arguments)
    except KafkaError as error:
        return _fail(f"{type(error).__name__}: {error}")


def _list(log: DeadLetters, arguments: argparse.Namespace) -> int:
    letters = _chosen(log, arguments, LISTED)
    if arguments.json:
        _print([_summary(letter) for letter in letters])
    elif letters:
        rows = [_row(letter) for letter in letters]
        widths = [max(map(len, column)) for column in zip(_HEADINGS, *rows, strict=True)]
        for row in (_HEADINGS, *rows):
            line = "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True))
            sys.stdout.write(line.rstrip() + "\n")
    else:
        _say(f"none, of the newest {MOST_LOOKED_AT:,} at most in {REJECTED.name}")
    return 0


def _show(log: DeadLetters, arguments: argparse.Namespace) -> int:
    letter = log.find(arguments.id)
    if letter is None:
        return _fail(f"there is no {arguments.id} in {REJECTED.name}, or not any more: it is kept for 30 days")
    whole = _summary(letter) | {"payload": letter.payload()}
    if arguments.json:
        _print(whole)
        return 0
    payload = whole.pop("payload")
    for name, value in whole.items():
        sys.stdout.write(f"{name + ':':<14} {_plain(value)}\n")
    sys.stdout.write(f"payload:\n{json.dumps(payload, indent=2)}\n")
    return 0


def _replay(log: DeadLetters, arguments: argparse.Namespace) -> int:
    found = {letter_id: log.find(letter_id) for letter_id in dict.fromkeys(arguments.ids)}
    letters = [letter for letter in found.values() if letter] if found else _chosen(log, arguments, REPLAYED)
    refused = {str(letter_id): "it is not there" for letter_id, letter in found.items() if letter is None}
    refused |= {str(letter.id): letter.obstacle for letter in letters if letter.obstacle}
    able = [letter for letter in letters if not letter.obstacle]
    replayed = log.replay(able) if able else 0
    if arguments.json:
        _print({"replayed": replayed, "refused": refused})
    else:
        for letter_id, why in refused.items():
            _say(f"{letter_id} not replayed: {why}")
        sys.stdout.write(f"{replayed} replayed, {len(refused)} not\n")
    return 1 if refused else 0


def _chosen(log: DeadLetters, arguments: argparse.Namespace, usual: int) -> list[DeadLetter]:
    """The newest letters that are asked for, newest first."""
    since_ms = 1_000 * arguments.since.timestamp() if arguments.since else 0

    def fits(letter: DeadLetter) -> bool:
        rejected = letter.rejected
        return rejected.rejected_at_ms >= since_ms and arguments.reason in {None, rejected.reason}

    chosen: Iterable[DeadLetter] = filter(fits, log.newest(MOST_LOOKED_AT))
    return list(islice(chosen, arguments.limit or usual))


def _summary(letter: DeadLetter) -> dict[str, Any]:
    """All but the payload."""
    rejected, there = letter.rejected, letter.was_record
    return {
        "id": str(letter.id),
        "rejected_at": _at(rejected.rejected_at_ms),
        "reason": rejected.reason,
        "detail": rejected.detail,
        "service": rejected.service or None,
        "topic": rejected.source_topic,
        "partition": rejected.source_partition if there else None,
        "offset": rejected.source_offset if there else None,
        "key": rejected.key.decode(errors="backslashreplace") if rejected.HasField("key") else None,
        "bytes": len(rejected.payload),
        "replayable": not letter.obstacle,
    }


def _row(letter: DeadLetter) -> Sequence[str]:
    rejected = letter.rejected
    source = f"{rejected.source_topic}/{rejected.source_partition}/{rejected.source_offset}"
    origin = source if letter.was_record else f"a client, for {rejected.source_topic}"
    when = _at(rejected.rejected_at_ms)[:19].replace("T", " ")
    return tuple(map(_plain, (letter.id, when, rejected.reason, rejected.service or "-", origin, rejected.detail)))


def _at(milliseconds: int) -> str:
    try:
        return datetime.fromtimestamp(milliseconds / 1_000, UTC).isoformat(timespec="milliseconds")
    except (OverflowError, ValueError, OSError):  # whoever wrote it
        return str(milliseconds)


def _plain(value: object) -> str:
    """In one line, without what a terminal takes for a command."""
    text = "-" if value is None else str(value)
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def _print(document: Any) -> None:
    sys.stdout.write(json.dumps(document, indent=1) + "\n")


def _say(line: str) -> None:
    sys.stderr.write(line + "\n")


def _fail(reason: str) -> int:
    _say(f"rejected: {reason}")
    return 1
