"""What posts are clustered by: hidden states, sentence embeddings and stylometrics, each of unit norm (DESIGN 4)."""

import re
from collections.abc import Sequence
from typing import Final

import numpy as np
import numpy.typing as npt
from sklearn.decomposition import PCA
from sklearn.preprocessing import StandardScaler, normalize

Floats = npt.NDArray[np.float32]

COMPONENTS: Final = 32
STYLE_SHARE: Final = 0.7

_PATTERNS: Final = {
    "first person": r"\b(i|i'm|i've|my|me|mine|we|our|us)\b",
    "second person": r"\b(you|your|yours)\b",
    "third person": r"\b(he|she|they|his|her|their|them|it)\b",
    "past": r"\b(was|were|had|did|\w+ed)\b",
    "present": r"\b(is|are|am|has|do|does)\b",
    "future": r"\b(will|going to|'ll)\b",
    "modal": r"\b(can|could|should|would|must|may)\b",
    "negation": r"\b(no|not|never|n't|nothing)\b",
    "question word": r"\b(what|why|how|who|where|when|which)\b",
    "connective": r"\b(and|but|because|so|then|or)\b",
    "article": r"\b(a|an|the)\b",
    "number": r"\d+",
}
_MARKS: Final = {
    "question mark": "?",
    "exclamation": "!",
    "comma": ",",
    "period": ".",
    "colon": ":",
    "hash": "#",
    "quote": '"',
    "newline": "\n",
    "dash": "-",
}


def stylometrics(text: str) -> list[float]:
    """Some two dozen generic measures of how a post is written, none of what it is about."""
    words = re.findall(r"[\w']+", text)
    count = max(len(words), 1)
    letters = [c for c in text if c.isalpha()]
    return [
        *(len(re.findall(pattern, text.lower())) / count for pattern in _PATTERNS.values()),
        *(np.log1p(text.count(mark)) for mark in _MARKS.values()),
        np.log(count),
        sum(map(len, words)) / count,
        sum(c.isupper() for c in letters) / max(len(letters), 1),
        sum(not c.isascii() for c in text) / max(len(text), 1),
        float(text[:1].islower()),
    ]


def clustering_space(posts: Sequence[str], hidden_states: Floats, embeddings: Floats, seed: int) -> Floats:
    """The three blocks side by side.

    Args:
        posts: N texts.
        hidden_states: (N, 2 d), see `trainer.language_model.LanguageModel.hidden_states`.
        embeddings: (N, E) of a sentence embedder.
        seed: of the principal components.

    Returns:
        (N, 32 + 32 + stylometrics) float32.
    """
    hidden = StandardScaler().fit_transform(hidden_states)
    style = StandardScaler().fit_transform(np.array([stylometrics(text) for text in posts]))
    blocks = [_compressed(hidden, seed), _compressed(embeddings, seed), STYLE_SHARE * normalize(style)]
    return np.hstack(blocks).astype(np.float32)


def _compressed(block: npt.NDArray[np.floating], seed: int) -> npt.NDArray[np.floating]:
    components = min(COMPONENTS, *block.shape)
    compressed: npt.NDArray[np.floating] = normalize(PCA(components, random_state=seed).fit_transform(block))
    return compressed
