"""Load goes to this machine, unless somebody says otherwise."""

from pathlib import Path

import pytest

from loadtests.settings import LoadSettings, WrongSettings, is_loopback, load_settings


@pytest.fixture(autouse=True)
def _no_env_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize("url", ["http://127.0.0.1:8001", "http://localhost:80", "http://[::1]:9", "http://127.9.9.9"])
def test_loopback_addresses_are_this_machine(url: str) -> None:
    assert is_loopback(url)


@pytest.mark.parametrize(
    "url", ["http://10.0.0.1:8001", "http://0.0.0.0:80", "http://localhost.example.org", "http://127.0.0.1.example.org"]
)
def test_other_addresses_are_not(url: str) -> None:
    assert not is_loopback(url)


@pytest.mark.parametrize("service", ["COLLECTOR", "GENERATION", "GRAFANA"])
def test_another_machine_is_refused_and_the_message_says_what_allows_it(
    monkeypatch: pytest.MonkeyPatch, service: str
) -> None:
    monkeypatch.setenv(f"SLOP_{service}_URL", "http://feed.example.org:8001")
    with pytest.raises(WrongSettings, match=r"feed\.example\.org.*SLOP_LOAD_ALLOW_REMOTE=true"):
        load_settings()


def test_another_machine_is_loaded_once_that_is_allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLOP_COLLECTOR_URL", "http://feed.example.org:8001/")
    monkeypatch.setenv("SLOP_LOAD_ALLOW_REMOTE", "true")
    assert load_settings().collector == "http://feed.example.org:8001"


def test_published_ports_are_found_by_the_settings_that_moved_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLOP_COLLECTOR_PORT", "18001")
    settings = LoadSettings()
    assert (settings.collector, settings.generation) == ("http://127.0.0.1:18001", "http://127.0.0.1:8002")


def test_a_wrong_setting_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLOP_LOAD_SKEW", "1")
    with pytest.raises(WrongSettings, match="load_skew: Input should be less than 1"):
        load_settings()
