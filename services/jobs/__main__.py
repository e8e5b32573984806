"""`python -m jobs worker|beat|run|restore|relearn|rollout|rollback|lift|rejected`: processes, and what people do."""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from celery import signals

from jobs import rejected
from jobs.names import TASKS
from jobs.settings import JobsSettings
from slop.process_logs import configure_process_logs


def _options(text: str) -> dict[str, Any]:
    options = json.loads(text)
    if not isinstance(options, dict):
        raise argparse.ArgumentTypeError("options are a JSON object")
    return options


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser("python -m jobs", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("worker", help="take jobs from the queues until SIGTERM")
    commands.add_parser("beat", help="send the periodic jobs until SIGTERM; one is enough")
    run = commands.add_parser("run", help="have the worker do a job now, wait for it, and print its result")
    run.add_argument("job", choices=TASKS)
    run.add_argument("options", nargs="?", type=_options, default={}, help='JSON, say {"prompts": 32}')
    restore = commands.add_parser("restore", help="store the profiles of a snapshot; stop the learner before")
    restore.add_argument("file", type=Path)
    restore.add_argument("--replace", action="store_true", help="also of users who have a profile")
    rollout = commands.add_parser("rollout", help="relearn the log under a new basis beside the live one, then switch")
    which = rollout.add_mutually_exclusive_group(required=True)
    which.add_argument("basis", nargs="?", help="its folder, or the version of one that the worker has built")
    which.add_argument("--cancel", action="store_true", help="follow the live basis alone, after one that was killed")
    rollout.add_argument("--anyway", action="store_true", help="even if it is no better by what readers did")
    commands.add_parser("rollback", help="switch to the basis that was live before")
    relearn = commands.add_parser("relearn", help="learn all readers anew from the log, and switch when it is done")
    relearn.add_argument(
        "--snapshot",
        nargs="?",
        const="newest",
        default="",
        help="to begin with: a file, or the newest good one",
    )
    lift = commands.add_parser("lift", help="how much more readers like the posts of each arm than the control's")
    lift.add_argument("--json", action="store_true", help="for machines")
    rejected.add_arguments(commands)
    return parser.parse_args()


def main() -> None:
    """The command line; what a command needs is imported only for it."""
    arguments, settings = _arguments(), JobsSettings()
    if arguments.command in {"worker", "beat"}:
        configure_process_logs(arguments.command, settings)
        signals.setup_logging.connect(lambda **_: None, weak=False)  # Celery would set up its own
    match arguments.command:
        case "worker":
            from jobs import worker

            worker.main(settings)
        case "beat":
            from jobs import beat

            beat.main(settings)
        case "run":
            from jobs import by_hand

            by_hand.run(arguments.job, arguments.options)
        case "restore":
            from jobs import by_hand

            by_hand.restore(settings, arguments.file, arguments.replace)
        case "rollout" if arguments.cancel:
            from jobs import by_hand

            by_hand.cancel_rollout(settings)
        case "rollout":
            from jobs import by_hand

            by_hand.rollout(settings, arguments.basis, anyway=arguments.anyway)
        case "rollback":
            from jobs import by_hand

            by_hand.rollback(settings)
        case "relearn":
            from jobs import by_hand

            by_hand.relearn(settings, arguments.snapshot)
        case "lift":
            from jobs import lift

            lift.run(settings, as_json=arguments.json)
        case "rejected":
            sys.exit(rejected.run(settings, arguments))


if __name__ == "__main__":
    main()
