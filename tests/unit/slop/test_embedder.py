import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from tokenizers import Tokenizer

from slop.embedder import MODEL_FILE, Embedder, InvalidEmbedder
from tests.tiny_embedder import save_tiny_embedder

TEXTS = ["the dog barks", "", "a star shines", "🎉🎉🎉", "dog " * 5_000, "\ud800 dog", "x" * 20_000]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return save_tiny_embedder(tmp_path / "tiny")


def pooled_by(folder: Path, **config: object) -> Embedder:
    (folder / "1_Pooling").mkdir()
    (folder / "1_Pooling" / "config.json").write_text(json.dumps(config))
    return Embedder.load(folder)


def test_an_embedding_is_of_unit_norm_and_of_the_text_alone(folder: Path) -> None:
    embedder = Embedder.load(folder)
    together = embedder.embed(TEXTS)
    assert together.shape == (len(TEXTS), embedder.width)
    np.testing.assert_allclose(np.linalg.norm(together, axis=1), [float(bool(text)) for text in TEXTS], atol=1e-5)
    for row, text in zip(together, TEXTS, strict=True):
        assert embedder.embed([text])[0].tobytes() == row.tobytes()


def test_threads_that_share_an_embedder_get_what_one_alone_gets(folder: Path) -> None:
    embedder = Embedder.load(folder)
    texts = ["the dog barks", "a star shines", "garden soil"] * 20
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda text: embedder.embed([text])[0].tobytes(), texts))
    assert found == [row.tobytes() for row in embedder.embed(texts)]


def test_the_mean_over_tokens_is_what_a_folder_without_a_pooling_gets(folder: Path) -> None:
    plain = Embedder.load(folder).embed(["dog star"])
    dog, star = Embedder.load(folder).embed(["dog"]), Embedder.load(folder).embed(["star"])
    assert not np.allclose(plain, dog)
    np.testing.assert_allclose(pooled_by(folder, pooling_mode_mean_tokens=True).embed(["dog star"]), plain)
    assert not np.allclose(plain, star)


@pytest.mark.parametrize("config", [{"pooling_mode_cls_token": True}, {"pooling_mode": "cls"}])
def test_the_first_token_alone_is_read_where_the_folder_says_so(folder: Path, config: dict[str, object]) -> None:
    dog = Embedder.load(folder).embed(["dog"])
    np.testing.assert_array_equal(pooled_by(folder, **config).embed(["dog star"]), dog)


def test_a_pooling_that_is_not_known_is_refused_by_its_name(folder: Path) -> None:
    with pytest.raises(InvalidEmbedder, match="weightedmean_tokens"):
        pooled_by(folder, pooling_mode_weightedmean_tokens=True)


def test_a_text_is_read_up_to_the_limit_that_the_folder_names(folder: Path) -> None:
    (folder / "sentence_bert_config.json").write_text('{"max_seq_length": 2}')
    embedder = Embedder.load(folder)
    np.testing.assert_array_equal(embedder.embed(["dog star garden soil"]), embedder.embed(["dog star"]))


def test_the_revision_is_what_was_noted_and_else_changes_with_the_files(folder: Path, tmp_path: Path) -> None:
    assert Embedder.load(folder).revision == "test"
    bare = [save_tiny_embedder(tmp_path / name, "", opset) for name, opset in (("a", 17), ("b", 17), ("c", 16))]
    first, same, other = (Embedder.load(path).revision for path in bare)
    assert first == same != other


@pytest.mark.parametrize("missing", [MODEL_FILE, "tokenizer.json"])
def test_a_folder_without_a_file_is_refused_by_its_name(folder: Path, missing: str) -> None:
    (folder / missing).unlink()
    with pytest.raises(InvalidEmbedder, match=missing):
        Embedder.load(folder)


def test_a_broken_model_is_refused(folder: Path) -> None:
    (folder / MODEL_FILE).write_bytes(b"no model")
    with pytest.raises(InvalidEmbedder, match="no usable sentence embedder"):
        Embedder.load(folder)


def test_what_looks_like_a_special_token_is_read_as_text(folder: Path) -> None:
    text = "the [SEP] dog"
    before = Embedder(folder).embed([text])
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.add_special_tokens(["[SEP]"])
    tokenizer.save(str(folder / "tokenizer.json"))
    assert tokenizer.token_to_id("[SEP]") in tokenizer.encode(text).ids
    np.testing.assert_array_equal(Embedder(folder).embed([text]), before)
