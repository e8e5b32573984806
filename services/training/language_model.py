"""The frozen language model: losses of posts under soft prompts, posts written under them, and hidden states."""

import hashlib
import threading
from collections.abc import Sequence
from itertools import chain
from pathlib import Path
from typing import Any, Final, Self

import numpy as np
import numpy.typing as npt
import torch
from huggingface_hub import snapshot_download
from torch import Tensor
from torch.nn.functional import cross_entropy
from torch.nn.utils.rnn import pad_sequence
from tqdm import tqdm
from transformers import AutoModelForCausalLM, AutoTokenizer, DynamicCache

from slop.basis import Template

Floats = npt.NDArray[np.float32]

MAX_POST_TOKENS: Final = 48  # of training and of features alike
_SLOT: Final = "\ue000"  # stands for the soft prompt while the chat template is rendered
_ANSWER: Final = "\ue001"  # stands for the answer
_IGNORE: Final = -100


def model_folder(source: str) -> Path:
    """The folder of a model given as a folder or a hub name; the latter is downloaded once."""
    folder = Path(source).expanduser()
    return folder if folder.is_dir() else Path(snapshot_download(source))


def revision_of(folder: Path) -> str:
    """Twelve hex digits of a model folder's weights and tokenizer: what a basis is trained on."""
    digest = hashlib.sha256()
    for path in sorted([*folder.glob("*.safetensors"), *folder.glob("tokenizer*.json"), *folder.glob("*.jinja")]):
        with path.open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()[:12]


class LanguageModel:
    """A causal language model that is never trained.

    Attributes:
        width: d, the length of an embedding row.
        device: where it runs.
        tail: what follows the soft prompt in the template, as text.
        end: what ends a post, as text: what ends an assistant's turn in the chat template. A tokenizer's own end of
            text may be another one, or wrong (transformers 5.17 takes the start of a turn for it in some GGUF files).
        plain: (P, d), the embeddings of the template's plain system message, which no soft prompt has replaced.
    """

    def __init__(self, model: Any, tokenizer: Any, template: Template) -> None:
        self._model, self._tokenizer = model.eval().requires_grad_(False), tokenizer
        self._tokenizing = threading.Lock()  # a tokenizer is not promised to be safe for threads
        self.device: torch.device = model.device
        self.width: int = model.config.hidden_size
        messages = [{"role": "system", "content": _SLOT}, {"role": "user", "content": template.request}]
        rendered = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
        head, self.tail = rendered.split(_SLOT)
        self._head, self._tail = self.tokens(head), self.tokens(self.tail)
        self.end = _end_of_turn(tokenizer, messages)
        self._end_id = int(self.tokens(self.end)[-1])
        self.plain = self.embed_text(template.plain_system)

    @classmethod
    def load(cls, source: str | Path, template: Template, device: str | None = None) -> Self:
        """Load a local folder or hub name; on a GPU in bfloat16, on a CPU in float32, which is faster there."""
        device = device or ("cuda" if torch.cuda.is_available() else "cpu")
        dtype = torch.bfloat16 if device.startswith("cuda") else torch.float32
        model = AutoModelForCausalLM.from_pretrained(source, dtype=dtype, attn_implementation="sdpa").to(device)
        return cls(model, AutoTokenizer.from_pretrained(source), template)

    @property
    def posts_at_once(self) -> int:
        """How many posts go through the model together: as many as fill a GPU, or as two cores' caches hold."""
        return 144 if self.device.type == "cuda" else 24

    def tokens(self, text: str) -> Tensor:
        """A text's tokens, special ones as such and none added: (T,) int64."""
        return self._tokens(text, special=True)

    def _tokens(self, text: str, *, special: bool) -> Tensor:
        with self._tokenizing:
            ids = self._tokenizer(text, add_special_tokens=False, split_special_tokens=not special).input_ids
        return torch.tensor(ids, dtype=torch.int64, device=self.device)

    def post_tokens(self, text: str, most: int = MAX_POST_TOKENS) -> Tensor:
        """A post's tokens with the end of turn, the first `most` of them: (T,) int64, T >= 1.

        What looks like a special token in the post is text.
        """
        return torch.cat([self._tokens(text, special=False), self.tokens(self.end)])[:most]

    def embed(self, tokens: Tensor) -> Tensor:
        """Rows of the embedding matrix: (..., T) to (..., T, d)."""
        rows: Tensor = self._model.get_input_embeddings()(tokens)
        return rows

    def embed_text(self, text: str) -> Tensor:
        """The embeddings of a whole text: (T, d)."""
        return self.embed(self.tokens(text))

    def embed_words(self, text: str, rows: int) -> Tensor:
        """The embeddings of a text, cut or repeated from its last quarter to `rows` rows: (rows, d)."""
        tokens = self.tokens(text)
        padding = tokens[-max(1, rows // 4) :].repeat(rows)
        return self.embed(torch.cat([tokens, padding])[:rows]).float()

    def head(self) -> Tensor:
        """The embeddings of what precedes the soft prompt in the template: (H, d)."""
        return self.embed(self._head)

    def prefix(self, prompts: Tensor) -> Tensor:
        """(B, k, d) soft prompts within the template: (B, P, d)."""
        size = prompts.shape[0]
        head = self.head().expand(size, -1, -1)
        tail = self.embed(self._tail).expand(size, -1, -1)
        return torch.cat([head, prompts.to(head.dtype), tail], dim=1)

    def token_losses(self, hidden: Tensor, targets: Tensor) -> Tensor:
        """(B, T, d) states that predict (B, T) targets: (B, T) losses, 0 where a target is ignored."""
        logits = self._model.lm_head(hidden).float()
        flat = cross_entropy(logits.flatten(0, 1), targets.flatten(), reduction="none", ignore_index=_IGNORE)
        return flat.view_as(targets)

    def losses(self, prompts: Tensor, posts: Sequence[Sequence[Tensor]]) -> Tensor:
        """Mean negative log-likelihood a token of posts under their prompts; differentiable in the prompts.

        Args:
            prompts: (P, k, d).
            posts: for each prompt the token sequences of its posts, B in all.

        Returns:
            (B,) nats, in the order of the posts.
        """
        return mean_losses(self.losses_by_token(prompts, posts), posts)

    def losses_by_token(self, prompts: Tensor, posts: Sequence[Sequence[Tensor]]) -> Tensor:
        """Negative log-likelihood of every token of posts under their prompts; differentiable in the prompts.

        What precedes the posts of a prompt is computed once for all of them, which halves the work.

        Args:
            prompts: (P, k, d).
            posts: for each prompt the token sequences of its posts, B in all, T tokens the longest.

        Returns:
            (B, T) nats, in the order of the posts, 0 behind a post's end.
        """
        states, cache = self.read(self.prefix(prompts), None)
        return self.losses_after(states[:, -1:], cache, posts)

    def losses_after(self, last: Tensor, cache: Any, posts: Sequence[Sequence[Tensor]]) -> Tensor:
        """As `losses_by_token`, after prefixes that were read already; the cache stays as it is.

        Args:
            last: (P, 1, d), the prefixes' last states.
            cache: of the prefixes.
            posts: for each prefix the token sequences of its posts, B in all, T tokens the longest.

        Returns:
            (B, T) nats, in the order of the posts, 0 behind a post's end.
        """
        tokens, targets = self._padded(list(chain.from_iterable(posts)))
        owners = torch.tensor([owner for owner, group in enumerate(posts) for _ in group], device=self.device)
        hidden, _ = self.read(self.embed(tokens), copied(cache, owners))
        return self.token_losses(torch.cat([last[owners], hidden[:, :-1]], dim=1), targets)

    def read(self, inputs: Tensor, cache: Any) -> tuple[Tensor, Any]:
        """Last-layer states (B, T, d) of (B, T, d) inputs that follow what `cache` holds, and the cache after them."""
        out = self._model.model(inputs_embeds=inputs, past_key_values=cache, use_cache=True)
        return out.last_hidden_state, out.past_key_values

    @torch.inference_mode()
    def write(self, prefixes: Sequence[Tensor], max_tokens: int, temperature: float, min_p: float) -> list[str]:
        """Write a text after each prefix, all together, drawing from torch's own generator.

        Args:
            prefixes: (T, d) embeddings each, of any lengths.
            max_tokens: of each text.
            temperature: 0 takes the likeliest token each time.
            min_p: tokens with a smaller share of the likeliest one's probability are not drawn.
        """
        # Reversed, padded and reversed back: `generate` needs the padding on the left.
        turned = pad_sequence([prefix.flip(0) for prefix in prefixes], batch_first=True).flip(1)
        ones = [torch.ones(len(prefix), dtype=torch.long, device=self.device) for prefix in prefixes]
        drawing: dict[str, Any] = {"do_sample": False}
        if temperature > 0:
            # vLLM draws from all tokens unless told otherwise.
            drawing = {"do_sample": True, "temperature": temperature, "min_p": min_p, "top_k": 0, "top_p": 1.0}
        tokens = self._model.generate(
            inputs_embeds=turned,
            attention_mask=pad_sequence([mask.flip(0) for mask in ones], batch_first=True).flip(1),
            max_new_tokens=max_tokens,
            eos_token_id=self._end_id,
            pad_token_id=self._end_id,
            **drawing,
        )
        return [text.strip() for text in self._tokenizer.batch_decode(tokens, skip_special_tokens=True)]

    def _padded(self, posts: list[Tensor]) -> tuple[Tensor, Tensor]:
        # Padding comes last, where causal attention needs no mask to ignore it.
        tokens = pad_sequence(posts, batch_first=True, padding_value=0)
        return tokens, pad_sequence(posts, batch_first=True, padding_value=_IGNORE)

    @torch.inference_mode()
    def hidden_states(self, texts: Sequence[str]) -> Floats:
        """Posts' mean-pooled states at the middle and the last layer, without any prompt: (N, 2 d) float32."""
        posts = [self.post_tokens(text) for text in texts]
        found = np.empty((len(posts), 2 * self.width), dtype=np.float32)
        batches = self.batches_of(posts)
        for chosen in tqdm(batches, "hidden states", unit="batch", leave=False, disable=len(batches) == 1):
            found[chosen] = self._pooled([posts[i] for i in chosen]).cpu().numpy()
        return found

    def _pooled(self, posts: list[Tensor]) -> Tensor:
        tokens, targets = self._padded(posts)
        states = self._model.model(input_ids=tokens, output_hidden_states=True, use_cache=False).hidden_states
        of_posts = (targets != _IGNORE)[..., None]
        sums = [(states[layer].float() * of_posts).sum(dim=1) for layer in (len(states) // 2, -1)]
        return torch.cat(sums, dim=1) / of_posts.sum(dim=1)

    def batches_of(self, posts: Sequence[Tensor]) -> list[list[int]]:
        """Indices of posts, given as tokens, in batches of like length, so that little is padded."""
        order = sorted(range(len(posts)), key=lambda i: len(posts[i]))
        return [order[at : at + self.posts_at_once] for at in range(0, len(order), self.posts_at_once)]


def _end_of_turn(tokenizer: Any, messages: Sequence[dict[str, str]]) -> str:
    """What the chat template puts behind an assistant's words; the end of text where it puts nothing."""
    answered = [*messages, {"role": "assistant", "content": _ANSWER}]
    rendered: str = tokenizer.apply_chat_template(answered, tokenize=False)
    return rendered.rpartition(_ANSWER)[2].strip() or str(tokenizer.eos_token)


def mean_losses(by_token: Tensor, posts: Sequence[Sequence[Tensor]]) -> Tensor:
    """(B, T) losses of the tokens of posts, 0 behind a post's end, to (B,) means a token."""
    lengths = torch.tensor([len(post) for post in chain.from_iterable(posts)], device=by_token.device)
    return by_token.sum(dim=1) / lengths


class PromptScorer:
    """Log-likelihoods of whole posts under K fixed prompts; what precedes the post is computed once."""

    @torch.inference_mode()
    def __init__(self, model: LanguageModel, prompts: Tensor, most: int = MAX_POST_TOKENS) -> None:
        """Score under (K, k, d) prompts, `most` tokens of each post."""
        self._lm, self._most = model, most
        states, self._prefix = model.read(model.prefix(prompts.to(model.device)), None)
        self._last = states[:, -1:]

    @torch.inference_mode()
    def __call__(self, text: str) -> npt.NDArray[np.float64]:
        """(K,) log p(post | P_k) in nats, summed over the post's first `most` tokens."""
        tokens = self._lm.post_tokens(text, self._most)
        losses = self._lm.losses_after(self._last, self._prefix, [[tokens]] * len(self._last))
        result: npt.NDArray[np.float64] = -losses.double().sum(dim=1).cpu().numpy()
        return result


def copied(cache: Any, rows: Tensor | slice = slice(None)) -> DynamicCache:
    """A cache of the given rows, (R,) int64, all by default, that may grow while the original stays as it is."""
    return DynamicCache([(layer.keys[rows], layer.values[rows]) for layer in cache.layers])
