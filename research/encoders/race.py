"""The race of prompts: how the featurizer computed features before there was a head, kept for comparison.

After the first HEAT_TOKENS of a post only the SURVIVORS best prompts go on. The others keep their distance to the best
one: they are so far behind that their responsibilities are about 0 in any case.
"""

from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from research.likelihoods import HEAT_TOKENS, SURVIVORS
from training.language_model import MAX_POST_TOKENS, LanguageModel, copied


class Race:
    """Log-likelihoods of posts under K fixed prompts, one post at a time; what precedes the post is computed once."""

    @torch.inference_mode()
    def __init__(
        self, model: LanguageModel, prompts: Tensor, survivors: int = SURVIVORS, most: int = MAX_POST_TOKENS
    ) -> None:
        """Score under (K, k, d) prompts the first `most` tokens of posts."""
        self._lm, self._survivors, self._most = model, min(survivors, prompts.shape[0]), most
        states, self._prefix = model.read(model.prefix(prompts.to(model.device)), None)
        self._last = states[:, -1:]

    @torch.inference_mode()
    def __call__(self, text: str) -> npt.NDArray[np.float64]:
        """(K,) log p(post | P_k) in nats."""
        tokens = self._lm.post_tokens(text, self._most)
        everyone = torch.arange(self._last.shape[0], device=self._lm.device)
        scores, last, cache = self._lap(tokens[:HEAT_TOKENS], everyone, self._last, copied(self._prefix))
        if rest := tokens[HEAT_TOKENS:].numel():
            ahead = scores.topk(self._survivors).indices.sort().values
            cache.batch_select_indices(ahead)
            gains, _, _ = self._lap(tokens[-rest:], ahead, last[ahead], cache)
            leader = (scores[ahead] + gains).argmax()
            total = scores + gains[leader]
            total[ahead] = scores[ahead] + gains
            scores = total
        result: npt.NDArray[np.float64] = scores.cpu().numpy()
        return result

    def _lap(self, tokens: Tensor, rows: Tensor, last: Tensor, cache: Any) -> tuple[Tensor, Tensor, Any]:
        """Log-likelihoods of the next tokens for the prompts `rows`, whose states so far end with `last`."""
        batch = tokens.expand(rows.numel(), -1)
        states, cache = self._lm.read(self._lm.embed(batch), cache)
        losses = self._lm.token_losses(torch.cat([last, states[:, :-1]], dim=1), batch)
        return -losses.double().sum(dim=1), states[:, -1:], cache
