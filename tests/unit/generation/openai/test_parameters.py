"""docs/api.md says what becomes of each parameter, and it is so; no parameter of OpenAI's client is missing there."""

import re
from typing import Any, get_type_hints

import pytest
from openai.types.chat.completion_create_params import CompletionCreateParamsNonStreaming

from generation.openai.contracts import ChatRequest
from generation.openai.parameters import IGNORED, REFUSED, ignored
from kit.problems import Problem
from tests.api_docs import DOCS

OURS = {"strength"}
OF_OTHERS = {"guided_choice", "guided_grammar", "guided_json", "guided_regex", "structured_outputs"}
OF_MESSAGES = {"tool_calls"}


def documented() -> dict[str, str]:
    """What docs/api.md says becomes of each parameter."""
    section = DOCS.read_text().split("#### What becomes of OpenAI's parameters")[1].split("\n#")[0]
    rows = re.findall(r"^\| (`.*?) \| (honoured|ignored and said|refused)", section, re.MULTILINE)
    return {name: fate for names, fate in rows for name in re.findall(r"`(\w+)`", names)}


def test_the_table_of_the_documentation_says_what_is_done() -> None:
    done = dict.fromkeys(ChatRequest.model_fields, "honoured")
    done |= dict.fromkeys(IGNORED, "ignored and said") | dict.fromkeys(REFUSED, "refused")
    assert documented() == done


def test_every_parameter_of_openais_client_is_in_the_table() -> None:
    theirs = set(get_type_hints(CompletionCreateParamsNonStreaming))
    assert set(documented()) - OURS - OF_OTHERS - OF_MESSAGES == theirs


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_refused_may_be_null_or_ask_for_nothing(name: str) -> None:
    for value in (None, *REFUSED[name]):
        assert not list(ignored({name: value}))
    with pytest.raises(Problem, match=name):
        list(ignored({name: {"anything": "else"}}))


@pytest.mark.parametrize("name", [*IGNORED, "top_k"])
def test_what_is_ignored_is_said(name: str) -> None:
    value: Any = 1
    [one] = ignored({name: value})
    assert one.param == name
    assert one.message.startswith("ignored: ")
