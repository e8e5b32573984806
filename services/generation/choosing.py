"""Which of the candidates that were written for a reader's posts are served: those most to the reader's taste.

Candidates under the same prompt compete, so that each prompt keeps its share of the posts. Without the featurizer the
first ones are served, which are what a request without candidates would have got.
"""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import structlog

from generation import metrics
from generation.completions import CompletedText
from generation.copy_filter import CopyFilter
from generation.deadline import Deadline
from generation.features import FeaturizerClient
from generation.prompt_picking import PickedPrompts
from kit.problems import Problem
from slop.basis import Basis
from slop.copies import words_digest
from slop.profiles import Profile, scores
from slop.selection import select
from slop.text_features import EncodedText

log = structlog.stdlib.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Chooser:
    """Chooses among texts under one basis.

    Attributes:
        basis: of the profiles and of the texts' features.
        featurizer: reads the texts.
        diversity: of `slop.selection.select`.
        timeout_s: how long reading may take, seconds.
    """

    basis: Basis
    featurizer: FeaturizerClient
    diversity: float
    timeout_s: float

    async def chosen(
        self, picked: PickedPrompts, texts: Mapping[int, CompletedText], copies: CopyFilter, deadline: Deadline
    ) -> Mapping[int, CompletedText]:
        """The texts of the posts, by their indices; `texts` itself if nothing is to be chosen.

        Args:
            picked: what was asked for.
            texts: all that were written, by their indices.
            copies: what is not to be served. Such texts, and those that are there twice, are chosen last.
            deadline: of the request.
        """
        if picked.profile is None:
            return texts
        usable = _usable(texts, copies)
        best = await self._best(picked, picked.profile, {at: texts[at].text.strip() for at in usable}, deadline)
        order = dict.fromkeys([*best, *usable, *sorted(texts)])
        chosen = dict[int, CompletedText]()
        for some in picked.by_prompt:
            posts = some.posts[: len(some.posts) // picked.candidates]
            of_prompt = [at for at in order if at in some.posts][: len(posts)]
            chosen |= {post: texts[at] for post, at in zip(posts, of_prompt, strict=True)}
        return chosen

    async def _best(
        self, picked: PickedPrompts, profile: Profile, texts: Mapping[int, str], deadline: Deadline
    ) -> Sequence[int]:
        """The best of the texts, in the order in which they are chosen; none if they can't be read in time."""
        try:
            async with asyncio.timeout(min(self.timeout_s, deadline.left_s)):
                encoded = await self.featurizer.encoded(list(texts.values()), self.basis)
            read = {at: one for at, one in zip(texts, encoded, strict=True) if one is not None}
            best = self._selected(picked, profile, read) if read else []
        except (Problem, TimeoutError, ValueError) as error:
            metrics.CHOSEN.labels("first").inc()
            log.warning("candidates_not_read", error=repr(error))
            return []
        metrics.CHOSEN.labels("best").inc()
        return best

    def _selected(self, picked: PickedPrompts, profile: Profile, read: Mapping[int, EncodedText]) -> Sequence[int]:
        """As many of the texts that were read as there are posts under each prompt.

        Raises:
            ValueError: the scores are not finite.
        """
        prompt_of = {at: number for number, some in enumerate(picked.by_prompt) for at in some.posts}
        value = scores(profile, np.stack([one.features for one in read.values()]), self.basis.blocks)
        places = [len(some.posts) // picked.candidates for some in picked.by_prompt]
        embeddings = np.stack([one.embedding for one in read.values()])
        at = list(read)
        return [at[one] for one in select(value, embeddings, [prompt_of[one] for one in at], places, self.diversity)]


def _usable(texts: Mapping[int, CompletedText], copies: CopyFilter) -> list[int]:
    """Those that may be served, in order, of equal texts the first one."""
    first = dict[bytes, int]()
    for at in sorted(texts):
        if not copies.is_refused(texts[at].text):
            first.setdefault(words_digest(texts[at].text), at)
    return list(first.values())
