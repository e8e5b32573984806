from http import HTTPStatus

import pytest

from generation.engine_circuit import FAILURES, EngineCircuit
from generation.engine_refusals import EngineFailure, EngineUnreachable

BROKEN = EngineFailure("the engine answered 500: EngineDeadError")


@pytest.fixture
def circuit() -> EngineCircuit:
    return EngineCircuit("vllm:8000")


def test_an_engine_that_can_not_be_reached_is_not_asked_until_a_token_comes(circuit: EngineCircuit) -> None:
    refused = EngineUnreachable("the engine does not answer")
    circuit.failed(refused)
    assert circuit.failure is refused
    circuit.failed(BROKEN)
    assert circuit.failure is refused
    circuit.wrote()
    assert circuit.failure is None


def test_one_failure_may_be_the_fault_of_a_request_and_several_in_a_row_are_not(circuit: EngineCircuit) -> None:
    for _ in range(FAILURES - 1):
        circuit.failed(BROKEN)
    circuit.wrote()
    for _ in range(FAILURES - 1):
        circuit.failed(BROKEN)
    assert circuit.failure is None
    circuit.failed(BROKEN)
    assert circuit.failure is BROKEN


def test_a_failure_that_may_pass_says_when_to_come_again() -> None:
    assert BROKEN.response().headers["retry-after"]
    assert "retry-after" not in EngineFailure("nonsense", HTTPStatus.BAD_GATEWAY).response().headers
