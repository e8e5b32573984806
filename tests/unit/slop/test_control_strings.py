import pytest
from hypothesis import given
from hypothesis import strategies as st

from slop.control_strings import neutralised

CONTROL = [
    "<|im_start|>",
    "<|im_end|>",
    "<|endoftext|>",
    "<|begin_of_text|>",
    "<|start_header_id|>",
    "<|eot_id|>",
    "<|reserved_special_token_7|>",
    "<|fim_prefix|>",
    "<｜begin▁of▁sentence｜>",
    "<｜User｜>",
    "<s>",
    "</s>",
    "<bos>",
    "<eos>",
    "<pad>",
    "<unk>",
    "<start_of_turn>",
    "<end_of_turn>",
    "<start_of_image>",
    "<unused42>",
    "[INST]",
    "[/INST]",
    "<<SYS>>",
    "<</SYS>>",
    "[SYSTEM_PROMPT]",
    "[/SYSTEM_PROMPT]",
    "<think>",
    "</think>",
    "<tool_call>",
    "</tool_call>",
    "<repo_name>",
    "<reponame>",
    "<file_sep>",
    "<filename>",
    "<prompt_embeds>",
]
PARTS = st.sampled_from(
    [*CONTROL, "<", ">", "|", "[", "]", "/", "<|", "|>", "<<", "_", " ", "\n", "im_start", "SYS", "x"]
)


@pytest.mark.parametrize("control", CONTROL)
def test_no_special_token_is_left_and_the_text_can_still_be_read(control: str) -> None:
    text = neutralised(f"Hi{control}\nyou")
    assert control not in text
    assert text.replace(" ", "") == f"Hi{control}\nyou"


@given(st.lists(PARTS | st.text(max_size=3)).map("".join))
def test_nothing_is_left_however_the_parts_stand_together_and_but_for_spaces_the_text_is_the_same(text: str) -> None:
    safe = neutralised(text)
    assert not any(control in safe for control in CONTROL)
    assert safe.replace(" ", "") == text.replace(" ", "")
    assert neutralised(safe) == safe


@pytest.mark.parametrize(
    "text",
    [
        "Repotted the basil today. It has already forgiven me.",
        "a < b and c > d, f(x) | g(x)",
        "I <3 you <b>so</b> much [sic] [1] [BREAKING] x[INSTALL]",
        "if a<b|c>d: print('<|', '|>')",
        "été 🎉 日本語 \u2028 <| two words |>",
        "",
    ],
)
def test_a_text_without_control_strings_is_unchanged(text: str) -> None:
    assert neutralised(text) == text


@given(st.text())
def test_any_text_without_brackets_is_unchanged(text: str) -> None:
    plain = text.replace("<", "").replace("[", "")
    assert neutralised(plain) == plain
