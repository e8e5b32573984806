"""`python -m infra.settings_reference` (`make docs`) writes the tables of docs/settings.md from the classes."""

import inspect
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from pydantic import AliasChoices
from pydantic_settings import BaseSettings

from collector.settings import CollectorSettings
from featurizer.settings import FeaturizerSettings
from generation.settings import Settings as GenerationSettings
from infra.engine.settings import EngineSettings
from infra.local.settings import ROOT, LocalSettings
from infra.models.settings import ModelSettings, default_cache
from jobs.settings import JobsSettings
from learner.settings import LearnerSettings
from loadtests.faults.settings import FaultSettings
from loadtests.settings import BenchSettings, LoadSettings, RunSettings, StackSettings
from slop.settings import CandidatesSettings, CommonSettings, EmbedderSettings, LearningSettings
from training.peft_adapter.settings import AdapterSettings

Class = type[BaseSettings]
PAGE: Final = ROOT / "docs" / "settings.md"
MARK: Final = "<!-- `make docs` writes everything below; what is above is written by hand. -->\n"
SERVICES: Final[Mapping[str, Class]] = {
    "collector": CollectorSettings,
    "featurizer": FeaturizerSettings,
    "learner": LearnerSettings,
    "generation": GenerationSettings,
    "jobs": JobsSettings,
}
OTHERS: Final[Mapping[str, Class]] = {
    "export": AdapterSettings,
    "model": ModelSettings,
    "vLLM": EngineSettings,
    "local run": LocalSettings,
    "smoke": StackSettings,
    "load test": RunSettings,
    "bench": BenchSettings,
    "faults": FaultSettings,
}
SECTIONS: Final[Mapping[str, tuple[Class, ...]]] = {
    "Shared by several services": (CommonSettings, EmbedderSettings, LearningSettings),
    "Collector": (CollectorSettings,),
    "Featurizer": (FeaturizerSettings,),
    "Learner": (LearnerSettings,),
    "Generation": (CandidatesSettings, GenerationSettings),
    "Jobs": (JobsSettings, AdapterSettings),
    "Base model and embedder": (ModelSettings,),
    "vLLM": (EngineSettings,),
    "Local run": (LocalSettings,),
    "Smoke and load tests, benchmark": (StackSettings, LoadSettings, RunSettings, BenchSettings),
    "Faults": (FaultSettings,),
}
BOUNDS: Final = {"minimum": "from", "exclusiveMinimum": "above", "maximum": "up to", "exclusiveMaximum": "below"}
KINDS: Final = {"boolean": "true or false", "integer": "whole number", "object": "JSON object", "string": "text"}


def variable(settings: Class, name: str) -> str:
    """The environment variable of a setting: its alias, else the prefix and its name."""
    alias = settings.model_fields[name].validation_alias
    plain = alias.choices[-1] if isinstance(alias, AliasChoices) else alias
    return str(plain or settings.model_config.get("env_prefix", "") + name).upper()


def default(settings: Class, name: str) -> str:
    """A setting's default as one would write it, on whatever machine: paths are relative to the checkout."""
    field = settings.model_fields[name]
    if field.is_required():
        return "required"
    if field.default_factory is default_cache:
        return "`~/.cache/slop`"
    value = field.get_default(call_default_factory=True, validated_data={})
    if isinstance(value, Path):
        return f"`{value.relative_to(ROOT) if value.is_relative_to(ROOT) else value}`"
    if isinstance(value, float):
        return f"`{value:.12g}`"
    return "" if value in (None, "") else f"`{value if isinstance(value, str) else json.dumps(value)}`"


def values(schema: Mapping[str, Any]) -> str:
    """What a setting may be, by its JSON schema."""
    (kind,) = (one for one in schema.get("anyOf", [schema]) if one.get("type") != "null")
    if "enum" in kind:
        return ", ".join(f"`{one}`" for one in kind["enum"])
    if "pattern" in kind:
        return f"`{kind['pattern']}`".replace("|", "\\|")
    bounds = [f"{word} {kind[bound]:,.12g}" for bound, word in BOUNDS.items() if bound in kind]
    return " ".join([kind.get("format") or KINDS.get(kind["type"], kind["type"]), *bounds])


def readers(env: str) -> str:
    """The processes that read an environment variable."""
    processes = {**SERVICES, **OTHERS}
    found = [name for name, one in processes.items() if env in {variable(one, field) for field in one.model_fields}]
    return ", ".join(found).replace(", ".join(SERVICES), "all services")


def tables() -> str:
    """All tables, each under its heading; a variable is in the first one that has it."""
    lines, told = [], set[str]()
    for title, classes in SECTIONS.items():
        lines += ["", f"## {title}", "", "| variable | default | values | what it is | read by |", "| --- " * 5 + "|"]
        for settings in classes:
            schema = settings.model_json_schema(by_alias=False)["properties"]
            for name in (own for own in inspect.get_annotations(settings) if own in schema):
                env, about = variable(settings, name), schema[name].get("description", "")
                if env not in told:
                    cells = f"`{env}`", default(settings, name), values(schema[name]), about, readers(env)
                    lines.append(f"| {' | '.join(cells)} |")
                told.add(env)
    return "\n".join([*lines, ""])


if __name__ == "__main__":
    PAGE.write_text(PAGE.read_text().partition(MARK)[0] + MARK + tables())
