from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from slop.basis import Template
from tests.tiny_model import TEMPLATE, WORDS, random_prompts, tiny_llama, tiny_model, tiny_tokenizer
from training.language_model import (
    MAX_POST_TOKENS,
    LanguageModel,
    PromptScorer,
    model_folder,
    revision_of,
)

MODEL = tiny_model()
PROMPTS = random_prompts(6)
EVERYONE = PromptScorer(MODEL, PROMPTS)
TEXT = "the dog barks over the garden"
posts = st.lists(st.sampled_from(WORDS), min_size=1, max_size=40).map(" ".join)


def one_by_one(text: str) -> np.ndarray:
    """The reference: the whole sequence of every prompt, with no cache."""
    tokens = MODEL.post_tokens(text).expand(len(PROMPTS), -1)
    with torch.no_grad():
        prefix = MODEL.prefix(PROMPTS)
        states, _ = MODEL.read(torch.cat([prefix, MODEL.embed(tokens)], dim=1), None)
        losses = MODEL.token_losses(states[:, prefix.shape[1] - 1 : -1], tokens)
    return -losses.double().sum(dim=1).numpy()


@settings(max_examples=25)
@given(posts)
def test_the_packed_batch_gives_the_likelihoods_of_whole_sequences(text: str) -> None:
    assert EVERYONE(text) == pytest.approx(one_by_one(text), abs=1e-3)


def test_scoring_a_post_leaves_no_trace_on_the_next() -> None:
    scorer = PromptScorer(MODEL, PROMPTS)
    first = scorer("the dog barks over the garden and we run a post")
    scorer("save money cook soup")
    assert scorer("the dog barks over the garden and we run a post").tobytes() == first.tobytes()


def test_an_empty_post_is_the_end_of_turn_alone() -> None:
    assert MODEL.post_tokens("").shape == (1,)
    assert np.isfinite(EVERYONE("")).all()


def test_a_long_post_is_cut() -> None:
    assert MODEL.post_tokens("dog " * 500).shape == (MAX_POST_TOKENS,)
    assert MODEL.post_tokens("dog " * 500, most=100).shape == (100,)


def test_posts_that_share_a_prompt_have_the_losses_of_whole_sequences() -> None:
    texts = ["a star", "the dog barks over the garden", "garden"]
    tokens = [MODEL.post_tokens(text) for text in texts]
    with torch.no_grad():
        losses = MODEL.losses(PROMPTS[1:3], [tokens[:2], tokens[2:]])
    whole = [-one_by_one(text)[owner] / len(t) for text, owner, t in zip(texts, (1, 1, 2), tokens, strict=True)]
    assert losses.numpy() == pytest.approx(whole, abs=1e-4)


def test_losses_by_token_add_up_to_the_posts_losses_and_end_with_the_post() -> None:
    posts = [MODEL.post_tokens(text) for text in ("a star", TEXT)]
    with torch.no_grad():
        by_token = MODEL.losses_by_token(PROMPTS[:1], [posts])
    assert by_token.shape == (2, len(posts[1]))
    assert not by_token[0, len(posts[0]) :].any()
    assert by_token.sum(dim=1).numpy() == pytest.approx([-one_by_one("a star")[0], -one_by_one(TEXT)[0]], abs=1e-4)


def test_a_prompt_of_embedded_words_is_those_words_as_the_system_message() -> None:
    template = tiny_tokenizer().apply_chat_template(
        [{"role": "system", "content": "the dog"}, {"role": "user", "content": Template().request}],
        tokenize=False,
        add_generation_prompt=True,
    )
    assert torch.equal(MODEL.prefix(MODEL.embed_text("the dog")[None])[0], MODEL.embed_text(template))


def test_a_prompt_gets_the_gradient_that_it_would_get_alone() -> None:
    tokens = [MODEL.post_tokens(text) for text in ("a star", "the dog barks over the garden", "garden")]

    def gradient(batches: list[list[torch.Tensor]], prompts: torch.Tensor) -> torch.Tensor:
        rows = prompts.clone().requires_grad_(True)
        MODEL.losses(rows, batches).sum().backward()  # type: ignore[no-untyped-call]
        assert rows.grad is not None
        return rows.grad[0]

    together = gradient([tokens[:2], tokens[2:]], PROMPTS[:2])
    apart = gradient([tokens[:1]], PROMPTS[:1]) + gradient([tokens[1:2]], PROMPTS[:1])
    assert together.abs().max() > 0
    assert torch.allclose(together, apart, atol=1e-5)


def test_padding_does_not_change_a_posts_loss() -> None:
    short, long = MODEL.post_tokens("a star"), MODEL.post_tokens("the dog barks over the garden")
    with torch.no_grad():
        together = MODEL.losses(PROMPTS[:2], [[short], [long]])
        alone = MODEL.losses(PROMPTS[:1], [[short]])
    assert together[0].item() == pytest.approx(alone[0].item(), abs=1e-5)


def test_a_start_from_words_has_the_rows_asked_for() -> None:
    assert MODEL.embed_words("dog", 5).shape == (5, 16)
    assert MODEL.embed_words(" ".join(WORDS), 5).shape == (5, 16)


def test_the_revision_changes_with_the_weights(tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").write_bytes(b"one")
    before = revision_of(tmp_path)
    (tmp_path / "model.safetensors").write_bytes(b"two")
    assert len(before) == 12
    assert revision_of(tmp_path) != before


def test_a_folder_is_taken_as_it_is(tmp_path: Path) -> None:
    assert model_folder(str(tmp_path)) == tmp_path


def test_a_post_ends_as_an_assistants_turn_does_whatever_the_tokenizer_takes_for_the_end_of_text() -> None:
    tokenizer = tiny_tokenizer()
    tokenizer.eos_token = "<s>"
    model = LanguageModel(tiny_llama(len(tokenizer)), tokenizer, Template())
    assert model.end == "</s>"
    assert int(model.post_tokens("the dog barks")[-1]) == tokenizer.convert_tokens_to_ids("</s>")


def test_where_a_template_ends_no_turn_the_end_of_text_does() -> None:
    tokenizer = tiny_tokenizer()
    tokenizer.chat_template = TEMPLATE.replace("</s>", "")
    assert LanguageModel(tiny_llama(len(tokenizer)), tokenizer, Template()).end == "</s>"


def test_hidden_states_of_a_post_do_not_depend_on_the_posts_beside_it() -> None:
    texts = [TEXT, "the dog", "save money cook soup and we run a post over the garden"]
    together = MODEL.hidden_states(texts)
    assert together.shape == (3, 2 * MODEL.width)
    assert together == pytest.approx(np.vstack([MODEL.hidden_states([text]) for text in texts]), abs=1e-5)


def test_what_looks_like_the_end_of_a_turn_in_a_post_is_text() -> None:
    end = int(MODEL.tokens(MODEL.end)[-1])
    tokens = MODEL.post_tokens("the dog </s> barks").tolist()
    assert tokens.count(end) == 1
    assert tokens[-1] == end
    assert MODEL.tokens("the dog </s> barks").tolist().count(end) == 1  # of the template it is the end
