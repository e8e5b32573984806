"""The model card of an adapter: README.md, with what a person needs to use it without SLOP."""

from collections.abc import Sequence
from pathlib import Path
from typing import Final

from huggingface_hub import ModelCard, ModelCardData

from slop.basis import Basis

CARD: Final = "README.md"

_BODY: Final = """
# A soft prompt for {model}

Posts about: {words}.

A prompt-tuning adapter for [PEFT](https://github.com/huggingface/peft), exported by SLOP. Its {tokens} virtual tokens
are {head} embeddings of the chat template's beginning and {rows} of the soft prompt, which stands within the system
message. So feed it only what follows in the template, with no special tokens added: the `text` below, or one with
another request in it.

The base model is {model} with SLOP's revision `{revision}` (a hash of its weights and tokenizer). Others that go by
this name, with weights of another precision, say, may write worse under it.

```python
import sys

from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer

text = {text!r}

base, adapter = sys.argv[1:]  # folder or hub name of the base model, and this folder
tokenizer = AutoTokenizer.from_pretrained(base)
model = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base), adapter)
inputs = tokenizer(text, add_special_tokens=False, return_tensors="pt", return_token_type_ids=False)
tokens = model.generate(**inputs, max_new_tokens=48, do_sample=False)[0, inputs.input_ids.shape[1] :]
print(tokenizer.decode(tokens, skip_special_tokens=True))
```
"""


def save_card(folder: Path, basis: Basis, words: Sequence[str], head: int, tail: str) -> None:
    """Write README.md; it says nothing of whom the prompt was exported for.

    Args:
        folder: of the adapter.
        basis: what the soft prompt is of.
        words: what it writes about.
        head: H, the virtual tokens before the soft prompt.
        tail: what follows the soft prompt in the template.
    """
    rows = basis.prompts.shape[1]
    body = _BODY.format(
        model=basis.model,
        revision=basis.revision,
        words=", ".join(words),
        tokens=head + rows,
        head=head,
        rows=rows,
        text=tail,
    )
    about = ModelCardData(
        base_model=basis.model,
        library_name="peft",
        pipeline_tag="text-generation",
        tags=["prompt-tuning", "slop"],
        slop={"basis": basis.version, "revision": basis.revision, "head_tokens": head, "text": tail},
    )
    ModelCard(f"---\n{about.to_yaml()}\n---\n{body}").save(folder / CARD)
