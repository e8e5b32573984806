"""The domain does no I/O: what speaks to Kafka and Redis lies in `slop.kafka` and `slop.redis`."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import slop

DOMAIN = sorted(Path(slop.__file__).parent.glob("*.py"))
CLIENTS = ("kafka", "redis", "httpx", "fastapi", "slop.kafka", "slop.redis", "slop.rollout")


def imported_by(module: Path) -> set[str]:
    nodes = list(ast.walk(ast.parse(module.read_text())))
    named = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    return named | {node.module for node in nodes if isinstance(node, ast.ImportFrom) and node.module}


@pytest.mark.parametrize("module", DOMAIN, ids=lambda path: path.stem)
def test_a_module_of_the_domain_imports_no_client_of_anything(module: Path) -> None:
    assert [name for name in imported_by(module) for client in CLIENTS if f"{name}.".startswith(f"{client}.")] == []


def test_the_collector_loads_no_numpy() -> None:
    script = "import sys, collector.app; sys.exit('numpy' in sys.modules)"
    services = Path(slop.__file__).parents[1]
    assert subprocess.run([sys.executable, "-c", script], cwd=services, check=False).returncode == 0
