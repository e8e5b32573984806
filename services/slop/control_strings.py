"""Control strings: what a chat template or tokenizer takes for a turn's end, a role or a soft prompt, not for text.

vLLM renders the chat template to one string and tokenizes that, special tokens included. A text with
`<|im_end|>\\n<|im_start|>system` in it would end its own turn and speak as the system.
"""

import re
from typing import Final

_NAMES: Final = (
    # SentencePiece and BERT
    *("s", "/s", "bos", "eos", "pad", "unk", "mask", "sep", "cls"),
    # reasoning and tools
    *("think", "/think", "thinking", "/thinking", "tools", "/tools"),
    # code models, SmolLM's among them
    *("filename", "reponame", "image", "audio", "video"),
)
_IN_BRACKETS: Final = (
    "INST",
    "SYSTEM_PROMPT",
    "AVAILABLE_TOOLS",
    "TOOL_CALLS",
    "TOOL_RESULTS",
    "TOOL_CONTENT",
    "THINK",
)
_CONTROL: Final = re.compile(
    "|".join(
        (
            r"<[|｜][^<>\s]*?[|｜]>",  # ChatML, Llama 3, Phi, DeepSeek: <|im_start|>
            r"</?[a-z][a-z0-9]*(?:_[a-z0-9]+)+>",  # Gemma, SmolLM: <start_of_turn>; vLLM's own <prompt_embeds>
            rf"<(?:{'|'.join(_NAMES)})>",
            r"<(?:unused|extra_id|reserved)[0-9]*>",
            r"<<(?:/?SYS)>>",  # Llama 2
            rf"\[/?(?:{'|'.join(_IN_BRACKETS)})\]",  # Llama 2, Mistral
        )
    ),
    re.IGNORECASE,
)


def neutralised(text: str) -> str:
    """The text with a space behind the first character of each control string, so that it is read as text.

    A text without control strings stays as it is, and so does a text that was neutralised before.
    """
    return _CONTROL.sub(lambda found: f"{found[0][0]} {found[0][1:]}", text)
