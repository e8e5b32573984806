from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from slop.basis import InvalidBasis
from slop.encoder import Encoder
from slop.head import FARTHEST
from slop.text_features import Components
from tests.basis import TinyEmbedder, encoder_of, random_basis, random_head

BASIS = random_basis()
TEXTS = ["the dog barks", "", "a star shines over the garden soil", "🎉", "x" * 20_000, "\ud800", "今天天气很好"]


def test_features_are_one_row_a_text_of_the_basis_size() -> None:
    features = encoder_of(BASIS).features_of(TEXTS)
    assert features.shape == (len(TEXTS), BASIS.text_size)
    assert features.dtype == np.float32
    assert encoder_of(BASIS).features_of([]).shape == (0, BASIS.text_size)


def test_a_texts_features_are_the_same_bytes_whatever_is_beside_it() -> None:
    encoder = encoder_of(BASIS)
    together = encoder.features_of(TEXTS)
    for row, text in zip(together, TEXTS, strict=True):
        assert encoder.features_of([text])[0].tobytes() == row.tobytes()
    assert encoder.features_of(TEXTS[::-1]).tobytes() == together[::-1].tobytes()


def test_embeddings_come_with_the_features_that_follow_from_them() -> None:
    features, embeddings = encoder_of(BASIS).features_and_embeddings(TEXTS)
    np.testing.assert_array_equal(features, encoder_of(BASIS).features_of(TEXTS))
    np.testing.assert_array_equal(embeddings, TinyEmbedder().embed(TEXTS))
    assert len(encoder_of(BASIS).features_and_embeddings([])[1]) == 0


@given(st.text(st.characters(), max_size=300))
def test_any_text_has_finite_features(text: str) -> None:
    assert np.isfinite(encoder_of(BASIS).features_of([text])).all()


def test_a_basis_whose_head_reads_another_embedder_is_refused() -> None:
    with pytest.raises(InvalidBasis, match=r"tiny test.*tiny 2.*SLOP_EMBEDDER.*training\.basis\.head"):
        Encoder(BASIS, TinyEmbedder(revision="2"))


def test_components_follow_the_length() -> None:
    components = Components(np.zeros(8, np.float32), np.eye(8, 3, dtype=np.float32))
    basis = replace(BASIS, components=components, crowd_direction=np.zeros(8, np.float32))
    features = Encoder(basis, TinyEmbedder()).features_of(TEXTS[:1])
    np.testing.assert_array_equal(features[:, :5], encoder_of(BASIS).features_of(TEXTS[:1]))
    np.testing.assert_allclose(features[:, 5:], TinyEmbedder().embed(TEXTS[:1])[:, :3], atol=1e-6)


def test_an_input_far_beyond_what_the_head_has_seen_says_no_more_than_one_at_the_bound() -> None:
    head = random_head(4)
    far, bound = np.zeros((2, head.inputs))
    far[3], bound[3] = 1e6, FARTHEST
    np.testing.assert_array_equal(head.shares(far), head.shares(bound))
    np.testing.assert_allclose(head.shares([far, bound]).sum(axis=1), 1)
