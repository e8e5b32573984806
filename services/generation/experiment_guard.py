"""The guard of experiments: one that was changed after its start is refused."""

import asyncio
from datetime import UTC, datetime

import structlog
from redis import asyncio as aioredis
from redis.exceptions import RedisError

from slop.experiments import ArmAssigner, InvalidExperiment
from slop.redis.experiments import remember_experiments

log = structlog.stdlib.get_logger(__name__)


class ExperimentGuard:
    """Has Redis remember the experiments that have begun, and compares with it those that it remembers."""

    def __init__(self, redis: aioredis.Redis, assigner: ArmAssigner) -> None:
        self._redis, self._assigner, self._problem = redis, assigner, ""

    async def step(self) -> None:
        """Look once. Without Redis nothing is found out: arms depend on the files alone.

        Raises:
            InvalidExperiment: an experiment has begun with other arms, weights or another start.
        """
        if not self._assigner.experiments:
            return
        try:
            await remember_experiments(
                self._redis, self._assigner.tenant, self._assigner.experiments, datetime.now(UTC)
            )
        except (RedisError, OSError) as error:
            log.warning("experiments_not_compared", error=f"{type(error).__name__}: {error}")
        else:
            self._problem = ""

    async def run(self, every_s: float) -> None:
        """Look again and again, until cancelled."""
        while True:
            await asyncio.sleep(every_s)
            try:
                await self.step()
            except InvalidExperiment as error:
                if not self._problem:
                    log.error("experiment_changed", error=str(error))
                self._problem = str(error)
            except Exception:
                log.exception("comparing experiments failed")

    async def check(self) -> None:
        """Raise if an experiment was changed after its start, as far as is known.

        Raises:
            InvalidExperiment: which one.
        """
        if self._problem:
            raise InvalidExperiment(self._problem)
