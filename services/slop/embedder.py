"""Sentence embeddings by ONNX Runtime, without torch, of any model in the layout of sentence-transformers.

A model is a folder with `onnx/model.onnx` and `tokenizer.json`, and optionally `1_Pooling/config.json` (else mean
pooling) and `sentence_bert_config.json` (else 256 tokens, or what `config.json` says). The model reads one text at a
time, so that no embedding depends on other texts.
"""

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, Protocol, Self

import numpy as np
import numpy.typing as npt

from slop.settings import EmbedderSettings

Floats = npt.NDArray[np.float32]

MODEL_FILE: Final = "onnx/model.onnx"
REVISION_FILE: Final = "revision.txt"
_TOKENIZER: Final = "tokenizer.json"
_POOLING: Final = "1_Pooling/config.json"
# Where the number of tokens that the model reads is noted: files and members, the first that is there counts.
_LIMITS: Final = (("sentence_bert_config.json", "max_seq_length"), ("config.json", "max_position_embeddings"))
_TOKENS: Final = 256  # if it is noted nowhere


class InvalidEmbedder(ValueError):  # noqa: N818
    """A folder without a usable sentence embedder; the message says what is missing."""


class SentenceEmbedder(Protocol):
    """A source of embeddings, as the encoder needs it.

    Attributes:
        name: for people.
        revision: of all that embeddings depend on.
    """

    name: str
    revision: str

    def embed(self, texts: Sequence[str]) -> Floats:
        """Embeddings of N texts: (N, E) float32 of unit norm."""
        ...


class Embedder:
    """A sentence embedder. Several threads may use it at once.

    Attributes:
        name: the folder's name.
        revision: see `revision_of`.
        width: E, the size of an embedding.
    """

    def __init__(self, folder: Path, threads: int = 1) -> None:
        """Load a model.

        Args:
            folder: of the model, see above.
            threads: how many threads the embedding of one text takes.

        Raises:
            InvalidEmbedder: a file is missing or broken, or names a pooling that is not supported.
        """
        for name in (MODEL_FILE, _TOKENIZER):
            if not (folder / name).is_file():
                raise InvalidEmbedder(f"{folder} has no {name}: it is no sentence embedder for ONNX Runtime")
        try:
            self._session, self._tokenizer = _session(folder / MODEL_FILE, threads), _tokenizer(folder)
            self._pool = _pooling(folder)
            self._inputs = [given.name for given in self._session.get_inputs()]
            self.width = self._embed("a").size
        except InvalidEmbedder:
            raise
        except Exception as error:  # whatever the libraries raise
            raise InvalidEmbedder(f"no usable sentence embedder in {folder}: {error}") from error
        self.name, self.revision = folder.resolve().name, revision_of(folder)

    @classmethod
    def load(cls, source: str | Path, threads: int = 1) -> Self:
        """Load a model given as a folder, or as a name of the Hugging Face hub, from where it is downloaded once.

        Raises:
            InvalidEmbedder: it is not usable.
        """
        return cls(embedder_folder(source), threads)

    @classmethod
    def of(cls, settings: EmbedderSettings) -> Self:
        """The embedder that the settings name.

        Raises:
            InvalidEmbedder: it is not usable.
        """
        return cls.load(settings.embedder, settings.embedder_threads)

    def embed(self, texts: Sequence[str]) -> Floats:
        """Embeddings of N texts: (N, E) float32 of unit norm; zeros for a text without any token.

        A text with more tokens than the model reads is cut.
        """
        return np.stack([self._embed(text) for text in texts])

    def _embed(self, text: str) -> Floats:
        # The tokenizer reads UTF-8, which has no lone surrogates: they become question marks.
        encoded = self._tokenizer.encode(text.encode("utf-8", "replace").decode())
        if not encoded.ids:
            return np.zeros(self.width, np.float32)
        ids = np.array([encoded.ids], np.int64)
        given = {"input_ids": ids, "attention_mask": np.ones_like(ids), "token_type_ids": np.zeros_like(ids)}
        states = self._session.run(None, {name: given[name] for name in self._inputs})[0][0]
        pooled = self._pool(states.astype(np.float32))
        unit: Floats = pooled / max(float(np.linalg.norm(pooled)), np.finfo(np.float32).tiny)
        return unit


def embedder_folder(source: str | Path) -> Path:
    """The folder of a model that is given as a folder or as a name of the Hugging Face hub; that is downloaded once."""
    folder = Path(source).expanduser()
    if folder.is_dir():
        return folder
    from huggingface_hub import snapshot_download

    return Path(
        snapshot_download(str(source), allow_patterns=["*.json", "*/config.json", MODEL_FILE, f"{MODEL_FILE}_data"])
    )


def revision_of(folder: Path) -> str:
    """Twelve hex digits of all that embeddings depend on: weights, tokenizer, pooling and number of tokens.

    If there is a `revision.txt`, it is what that says. `infra.models` writes it for a converted model: two conversions
    of the same weights differ in their bytes, but not in their embeddings.
    """
    if (noted := folder / REVISION_FILE).is_file():
        return noted.read_text().strip()
    return digest_of(folder, [MODEL_FILE, f"{MODEL_FILE}_data", _TOKENIZER, _POOLING, *(name for name, _ in _LIMITS)])


def digest_of(folder: Path, names: Sequence[str]) -> str:
    """Twelve hex digits of the contents of those of these files that exist."""
    digest = hashlib.sha256()
    for path in (folder / name for name in names):
        if path.is_file():
            with path.open("rb") as file:
                digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()[:12]


def _session(path: Path, threads: int) -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def _tokenizer(folder: Path) -> Any:
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(folder / _TOKENIZER))
    tokenizer.no_padding()
    tokenizer.enable_truncation(_limit(folder))
    tokenizer.encode_special_tokens = True  # "[SEP]" in a post is text like any other
    return tokenizer


def _limit(folder: Path) -> int:
    """How many tokens of a text the model reads at most."""
    for name, key in _LIMITS:
        if (folder / name).is_file() and (tokens := json.loads((folder / name).read_text()).get(key)):
            return int(tokens)
    return _TOKENS


def _pooling(folder: Path) -> Any:
    """A function from the (tokens, E) states of a text's tokens to its (E,) embedding, before it is normalised."""
    path = folder / _POOLING
    config = json.loads(path.read_text()) if path.is_file() else {}
    chosen = config.get("pooling_mode") or _mode_of(config)
    known = {
        "mean": lambda states: states.mean(axis=0),
        "cls": lambda states: states[0],
        "max": lambda states: states.max(axis=0),
    }
    if chosen not in known:
        raise InvalidEmbedder(f"{path} asks for pooling '{chosen}'; known are {', '.join(known)}")
    return known[chosen]


def _mode_of(config: dict[str, Any]) -> str:
    flags = {"mean_tokens": "mean", "cls_token": "cls", "max_tokens": "max"}
    asked = [name for name, on in config.items() if name.startswith("pooling_mode_") and on is True]
    names = [flags.get(name.removeprefix("pooling_mode_"), name) for name in asked]
    return " and ".join(names) or "mean"
