import threading
import time

import numpy as np

from tests.basis import random_basis
from tests.tiny_model import random_prompts, tiny_model
from trainer.extraction import Extractor, Turnstile
from trainer.language_model import PromptScorer

WAIT_S = 5


def test_features_have_the_basis_length_and_depend_on_the_text() -> None:
    basis = random_basis()
    extractor = Extractor(PromptScorer(tiny_model(), random_prompts(basis.size)), basis)
    one = extractor.features("the dog barks", urgent=True)
    assert one.shape == (basis.feature_count,)
    assert one.dtype == np.float32
    assert not np.array_equal(one, extractor.features("a star shines", urgent=False))


def test_an_urgent_turn_comes_before_patient_ones_that_waited_longer() -> None:
    turnstile, order = Turnstile(), []

    def take(name: str, urgent: bool) -> None:
        with turnstile.turn(urgent=urgent):
            order.append(name)

    with turnstile.turn(urgent=False):
        threads = [threading.Thread(target=take, args=("patient", False)) for _ in range(3)]
        threads.append(threading.Thread(target=take, args=("urgent", True)))
        for thread in threads:
            thread.start()
            time.sleep(0.02)
    for thread in threads:
        thread.join(WAIT_S)
    assert order == ["urgent", "patient", "patient", "patient"]


def test_as_many_turns_are_taken_at_a_time_as_there_are_places() -> None:
    turnstile, inside = Turnstile(2), threading.Barrier(2, timeout=WAIT_S)

    def take() -> None:
        with turnstile.turn(urgent=True):
            inside.wait()

    threads = [threading.Thread(target=take) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(WAIT_S)
    assert not any(thread.is_alive() for thread in threads)
    assert not inside.broken


def test_features_of_several_texts_are_those_of_each_alone() -> None:
    basis = random_basis()
    extractor = Extractor(PromptScorer(tiny_model(), random_prompts(basis.size)), basis, places=2)
    texts = ["the dog barks", "a star shines", "garden", "the dog barks over the garden"]

    for urgent in (True, False):
        together = list(extractor.features_of(texts, urgent=urgent))
        assert all(
            np.array_equal(x, extractor.features(t, urgent=urgent)) for x, t in zip(together, texts, strict=True)
        )


def test_a_turn_ends_when_its_work_fails() -> None:
    turnstile = Turnstile()
    for _ in range(2):
        try:
            with turnstile.turn(urgent=True):
                raise RuntimeError
        except RuntimeError:
            pass
    with turnstile.turn(urgent=False):
        pass


def test_nothing_is_urgent_for_a_basis_that_is_not_live() -> None:
    basis, threads = random_basis(), set()
    scorer = PromptScorer(tiny_model(), random_prompts(basis.size))

    class Watched(PromptScorer):
        def __init__(self) -> None:
            pass

        def __call__(self, text: str) -> np.ndarray:
            threads.add(threading.current_thread().name.rsplit("_", 1)[0])
            return scorer(text)

    for is_live in (False, True):
        extractor = Extractor(Watched(), basis, is_live=lambda is_live=is_live: is_live)
        list(extractor.features_of(["the dog barks"], urgent=True))
        extractor.close()
        assert threads == {"urgent-features" if is_live else "patient-features"}
        threads.clear()
