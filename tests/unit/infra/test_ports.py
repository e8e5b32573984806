"""Ports that are taken."""

import os
import socket
from collections.abc import Iterator
from itertools import islice

import pytest

from infra.local import ports
from infra.local.parts import parts
from infra.local.settings import LocalSettings
from infra.local.starting import StackFailed, check_ports


@pytest.fixture
def taken_port() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener.getsockname()[1]


def test_a_port_is_open_only_while_something_listens(taken_port: int) -> None:
    assert ports.is_open("127.0.0.1", taken_port)
    assert not ports.is_open("127.0.0.1", ports.free_port())


def test_the_owner_of_a_port_is_named_with_its_process_id(taken_port: int) -> None:
    owner = ports.owner(taken_port)
    assert owner is not None
    assert owner.endswith(f"(pid {os.getpid()})")


def test_a_free_port_has_no_owner() -> None:
    assert ports.owner(ports.free_port()) is None


def test_free_ports_are_different_ones_and_none_that_an_outgoing_connection_may_get() -> None:
    found = [ports.free_port() for _ in range(50)]
    assert len(set(found)) == 50
    assert max(found) < 32_768


def test_processes_that_follow_each_other_are_given_different_ports() -> None:
    blocks = [set(islice(ports._block(process), ports.BLOCK)) for process in (700, 701, 702)]
    assert len(set.union(*blocks)) == 3 * ports.BLOCK


def test_a_port_that_is_taken_is_passed_over(monkeypatch: pytest.MonkeyPatch, taken_port: int) -> None:
    free = ports.free_port()
    monkeypatch.setattr(ports, "_candidates", iter([taken_port, free]))
    assert ports.free_port() == free


def test_a_taken_port_is_reported_with_its_part_its_owner_and_the_setting_that_changes_it(taken_port: int) -> None:
    settings = LocalSettings(_env_file=None, collector_port=taken_port)
    collector = [part for part in parts(settings) if part.name == "collector"]
    with pytest.raises(StackFailed) as failure:
        check_ports(collector)
    message = str(failure.value)
    assert message.startswith(f"port {taken_port}, for collector, is taken by ")
    assert f"(pid {os.getpid()})" in message
    assert "SLOP_COLLECTOR_PORT=" in message


def test_every_taken_port_is_reported_at_once(taken_port: int) -> None:
    settings = LocalSettings(
        _env_file=None, redis_url=f"redis://127.0.0.1:{taken_port}/0", vllm_url=f"http://127.0.0.1:{taken_port}/v1"
    )
    with pytest.raises(StackFailed) as failure:
        check_ports([part for part in parts(settings) if part.name in {"redis", "vllm"}])
    message = str(failure.value)
    assert "for redis" in message
    assert "SLOP_REDIS_URL=" in message
    assert "for vllm" in message
    assert "SLOP_VLLM_URL=" in message
