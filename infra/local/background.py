"""`python -m infra.local.background COMMAND...` runs a command that gives way to everything else on the machine.

The jobs fit bases and factors, which nobody waits for; on a machine without a GPU they would otherwise halve the
engine's speed meanwhile.
"""

import os
import sys
from contextlib import suppress
from pathlib import Path

NICE = 10


def give_way() -> None:
    """Lower this process' priority, and that of its session where the kernel shares the CPU among sessions first."""
    os.nice(NICE)
    with suppress(OSError):  # no autogroups here: sched(7)
        Path("/proc/self/autogroup").write_text(str(NICE))


if __name__ == "__main__":
    give_way()
    os.execvp(sys.argv[1], sys.argv[1:])
