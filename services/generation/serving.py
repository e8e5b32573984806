"""What answers requests under the live basis, and the switch to another basis between two requests."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

import structlog

from generation import metrics
from generation.completions import CompletionRequest
from generation.profiles import ProfileDescriber
from generation.ranking import Ranker
from generation.writing import Writer
from slop.kafka.groups import Groups
from slop.rollout.following import BasisFollower
from slop.rollout.live import BasisRef, LiveBases

log = structlog.stdlib.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Serving:
    """All that depends on the basis.

    Attributes:
        version: of the basis.
        writer: writes posts.
        ranker: ranks posts.
        describer: describes profiles.
        groups: the consumer groups that learn under the basis.
        probe: asks the engine for a token under a prompt of the basis.
    """

    version: str
    writer: Writer
    ranker: Ranker
    describer: ProfileDescriber
    groups: Groups
    probe: CompletionRequest


class BasisSwitch:
    """Serves under the live basis. The next basis is prepared before it is live, so that no request waits for it.

    Attributes:
        serving: under the live basis or, while that one can't be used, under the one that was live before.
    """

    def __init__(self, bases: LiveBases, serving_of: Callable[[BasisRef], Serving]) -> None:
        """Begin with the configured basis.

        Args:
            bases: which bases are to be followed.
            serving_of: prepares what serves under a basis; may block.

        Raises:
            slop.basis.InvalidBasis: the configured basis can't be used.
        """
        self.serving = serving_of(bases.configured)
        begun = {bases.configured.version: self.serving}
        self._follower = BasisFollower(bases, "generation", serving_of, begun)
        metrics.show_live(self.serving.groups)

    async def run(self, every_s: float) -> None:
        """Follow the live basis until cancelled."""
        while True:
            await asyncio.sleep(every_s)
            try:
                await self.step()
            except Exception:
                log.exception("following the live basis failed; the basis served under stays the same")

    async def step(self) -> None:
        """Follow what is to be followed now, and switch if another basis is live.

        Raises:
            Exception: as `BasisFollower.step` does.
        """
        await asyncio.to_thread(self._follower.step)
        live = self._follower.live
        if live is not None and live is not self.serving:
            self.serving = live
            metrics.show_live(live.groups)
            log.info("basis_live", basis=self._follower.live_version)
