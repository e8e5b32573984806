import subprocess
import sys
import unicodedata
from collections.abc import Iterator

import icu4py.breakers
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from slop.words import MS_A_WORD, reading_ms, word_count, words_of

LONGEST = 20_000

ANY_TEXT = st.text(st.characters(), max_size=300)
LETTERS_AND_MARKS = "aZ0 -'.一今水ひカｶกำเ់ក\u0301\u200b\u200d\u200e\u202e\ufe0f\x00\n😀👩👍🏽🇩❤שم\ud800\udc00"
HARD_TEXT = st.text(st.sampled_from(LETTERS_AND_MARKS), max_size=300)
HOSTILE = [
    "a",
    "a'",
    "!",
    "a\u0301",
    "\u200d",
    "🇩",
    "👩\u200d",
    "👍🏽",
    "一",
    "今日は",
    "ｶ",
    "ก",
    "ก็",
    "។",
    "က",
    "ש",
    "\ud800",
    "\x00",
    "一a",
    "一 ",
    "1\ufe0f\u20e3",
]


def test_english_has_a_word_between_spaces() -> None:
    text = "Isn't it  a well-known fact - U.S. trains (at 3:14pm!) run\nto https://example.com/a?b=c  #daily"
    assert words_of(text) == text.split()


@pytest.mark.parametrize("text", ["naïve Zoë — déjà-vu", "Пока, мир!", "שלום עולם", "مرحبا بالعالم", "오늘 나는 갔다"])
def test_languages_with_spaces_have_a_word_between_them(text: str) -> None:
    assert words_of(text) == text.split()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("今天天气很好，我们去公园散步。", "今天 天气 很好 我们 去 公园 散步"),
        ("公園で本を読む人の話。", "公園 で 本 を 読む 人 の 話"),
        ("ฉันไปเดินเล่นที่สวนสาธารณะ", "ฉัน ไป เดิน เล่น ที่ สวน สาธารณะ"),
        ("ຂ້ອຍໄປຍ່າງຫຼິ້ນ", "ຂ້ອຍ ໄປ ຍ່າງ ຫຼິ້ນ"),
        ("新しいiPhone15の話", "新しい iPhone15 の 話"),
        ("我love你", "我 love 你"),
    ],
)
def test_scripts_without_spaces_have_the_words_of_a_dictionary(text: str, words: str) -> None:
    assert words_of(text) == words.split()


def test_an_emoji_is_a_word_whatever_it_is_made_of() -> None:
    assert words_of("love it😂 👩‍👩‍👧‍👦🏳️‍🌈 👍🏽👍❤️ 🇩🇪🇫🇷 ✨") == [
        *("love", "it", "😂", "👩‍👩‍👧‍👦", "🏳️‍🌈", "👍🏽", "👍", "❤️", "🇩🇪", "🇫🇷", "✨"),
    ]


def test_marks_alone_are_a_word_only_between_spaces() -> None:
    assert words_of("。。。") == ["。。。"]
    assert words_of("好。。。") == ["好"]


def test_the_same_text_takes_about_as_long_to_read_in_other_languages() -> None:
    english = "The weather is very nice today, so we went for a walk in the park and saw many people flying kites."
    others = (
        "今天天气非常好，所以我们去公园散步，看到很多人在放风筝。",
        "今日はとても天気がいいので、公園へ散歩に行くと、たくさんの人が凧を揚げていました。",
        "วันนี้อากาศดีมาก เราจึงไปเดินเล่นที่สวนสาธารณะ และเห็นคนมากมายเล่นว่าว",
    )
    assert all(0.6 < reading_ms(text) / reading_ms(english) < 1.4 for text in others)


@given(st.one_of(ANY_TEXT, HARD_TEXT))
@example("\ud800一")
def test_any_text_has_words_and_a_finite_time(text: str) -> None:
    words = words_of(text)
    assert word_count(text) == len(words) <= len(text)
    assert bool(words) == bool(text.split())
    assert all(words)
    assert reading_ms(text) == MS_A_WORD * len(words)


@given(st.one_of(ANY_TEXT, HARD_TEXT), st.integers(0, 5))
def test_what_is_said_again_takes_as_long_again(text: str, times: int) -> None:
    assert reading_ms("\n".join([text] * times)) == times * reading_ms(text)


@given(st.one_of(ANY_TEXT, HARD_TEXT), st.one_of(ANY_TEXT, HARD_TEXT))
def test_words_of_a_part_do_not_depend_on_what_stands_beyond_the_space(text: str, other: str) -> None:
    assert words_of(f"{text} {other}") == [*words_of(text), *words_of(other)]


class Watched:
    """ICU's breaker, which counts what it is asked and what it answers."""

    icu = icu4py.breakers.WordBreaker
    letters = pieces = 0

    def __init__(self, text: str, locale: str) -> None:
        self._breaker = Watched.icu(text, locale)
        Watched.letters += len(text)

    def __iter__(self) -> Iterator[str]:
        for piece in self._breaker:
            Watched.pieces += 1
            yield piece


@pytest.mark.parametrize("part", HOSTILE, ids=lambda part: "+".join(f"{ord(letter):x}" for letter in part))
def test_every_letter_is_read_once_however_a_text_is_made(part: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(icu4py.breakers, "WordBreaker", Watched)
    monkeypatch.setattr(Watched, "letters", 0)
    monkeypatch.setattr(Watched, "pieces", 0)
    text = (part * LONGEST)[:LONGEST]
    assert word_count(text) <= LONGEST
    assert Watched.letters <= LONGEST
    assert Watched.pieces <= LONGEST


@pytest.mark.parametrize("part", [part for part in HOSTILE if unicodedata.category(part[0]) != "Cs"])
def test_more_of_the_same_never_takes_less_time(part: str) -> None:
    counts = [word_count(part * times) for times in (1, 2, 3, 10, 100)]
    assert counts == sorted(counts)


def test_icu_is_loaded_only_by_who_reads_a_text() -> None:
    loaded = "print('icu4py' in sys.modules)"
    code = f"import sys, slop.rewards; from slop.words import words_of; {loaded}; words_of('今日'); {loaded}"
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert printed.split() == ["False", "True"]
