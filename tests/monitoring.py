"""A real Prometheus and a real Grafana, on the configuration of the containers, watching the local run."""

import math
import os
import shutil
from pathlib import Path
from typing import Any, Self

import httpx
import pytest
import yaml

from infra.grafana.build import FOLDER
from infra.local.ports import free_port
from infra.local.ready import http_answers
from infra.local.settings import ROOT, LocalSettings
from tests.promql import RULES
from tests.servers import HOST, Server

PROVISIONING = FOLDER.parent / "provisioning"
START_S = 300.0  # Grafana's first start moves through all its versions, a minute and more on a machine under load
NOT_NATIVE = {"kafka"}  # jobs whose exporter only the containers have


class Prometheus:
    """What a Prometheus answers."""

    def __init__(self, url: str) -> None:
        self.url = url
        self._client = httpx.Client(base_url=f"{url}/api/v1", timeout=30, trust_env=False)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._client.close()

    def values(self, expr: str) -> list[float]:
        """The values of an expression's series now, those that are numbers."""
        answer = self._client.post("/query", data={"query": expr})
        assert answer.status_code == httpx.codes.OK, answer.text
        found = (float(series["value"][1]) for series in answer.json()["data"]["result"])
        return [value for value in found if math.isfinite(value)]

    def rules(self) -> list[dict[str, Any]]:
        """All rules, with how their last evaluation went."""
        groups = self._client.get("/rules").raise_for_status().json()["data"]["groups"]
        return [rule for group in groups for rule in group["rules"]]

    def targets(self) -> dict[str, str]:
        """The health of the target of each job."""
        active = self._client.get("/targets").raise_for_status().json()["data"]["activeTargets"]
        return {target["labels"]["job"]: target["health"] for target in active}


def redis_exporter_server(folder: Path, redis_url: str) -> tuple[Server, str]:
    """An exporter for Redis that is not started yet, and its address."""
    address = f"{HOST}:{free_port()}"
    command = [
        _installed("prometheus-redis-exporter"),
        f"-redis.addr={redis_url}",
        f"-web.listen-address={address}",
    ]
    return Server(command, lambda: http_answers(f"http://{address}/metrics"), folder / "redis-exporter.log"), address


def prometheus_server(folder: Path, settings: LocalSettings, redis_exporter: str) -> tuple[Server, str]:
    """A Prometheus that is not started yet, and its URL: the containers' configuration, but for where things listen."""
    address = f"{HOST}:{free_port()}"
    here = {
        "collector": f"{settings.host}:{settings.collector_port}",
        "generation": f"{settings.host}:{settings.generation_port}",
        "featurizer": f"{settings.host}:{settings.featurizer_port}",
        "learner": f"{settings.host}:{settings.learner_port}",
        "worker": f"{settings.host}:{settings.worker_port}",
        "beat": f"{settings.host}:{settings.beat_port}",
        "vllm": "{}:{}".format(*settings.vllm_address),
        "redis": redis_exporter,
        "prometheus": address,
    }
    config = yaml.safe_load((ROOT / "infra" / "prometheus" / "prometheus.yml").read_text())
    config["rule_files"] = [f"{RULES}/*.yml"]
    config["scrape_configs"] = [job for job in config["scrape_configs"] if job["job_name"] not in NOT_NATIVE]
    for job in config["scrape_configs"]:
        job.pop("dns_sd_configs", None)
        job["static_configs"] = [{"targets": [here[job["job_name"]]]}]
    path = folder / "prometheus.yml"
    path.write_text(yaml.safe_dump(config))
    command = [
        _installed("prometheus"),
        f"--config.file={path}",
        f"--storage.tsdb.path={folder / 'prometheus'}",
        f"--web.listen-address={address}",
    ]
    return Server(
        command, lambda: http_answers(f"http://{address}/-/ready"), folder / "prometheus.log"
    ), f"http://{address}"


def grafana_server(folder: Path, prometheus_url: str) -> tuple[Server, str]:
    """A Grafana that is not started yet, and its URL: the containers' provisioning, but for where things are."""
    provisioning, port = folder / "provisioning", free_port()
    shutil.copytree(PROVISIONING, provisioning)
    _replace(provisioning / "datasources" / "prometheus.yml", "http://prometheus:9090", prometheus_url)
    _replace(provisioning / "dashboards" / "slop.yml", "/configuration/grafana/dashboards", str(FOLDER))
    environment = {
        "GF_PATHS_PROVISIONING": str(provisioning),
        "GF_PATHS_DATA": str(folder / "data"),
        "GF_SERVER_HTTP_ADDR": HOST,
        "GF_SERVER_HTTP_PORT": str(port),
        "GF_AUTH_ANONYMOUS_ENABLED": "true",
        "GF_ANALYTICS_REPORTING_ENABLED": "false",
        "GF_ANALYTICS_CHECK_FOR_UPDATES": "false",
        "GF_NEWS_NEWS_FEED_ENABLED": "false",
        "GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH": str(FOLDER / "loop.json"),
    }
    command = _grafana(provisioning, folder / "data", port)
    answers = f"http://{HOST}:{port}/api/health"
    return Server(
        command, lambda: http_answers(answers), folder / "grafana.log", environment, START_S
    ), f"http://{HOST}:{port}"


def chromium() -> str:
    """The machine's Chromium."""
    return _installed("chromium")


def _grafana(provisioning: Path, data: Path, port: int) -> list[str]:
    """The command of the Grafana that `GRAFANA_LOCAL` names, that lies beside the checkout, or that is installed."""
    beside = ROOT.parent / "shared" / "bin" / "grafana-local"
    local = os.environ.get("GRAFANA_LOCAL") or (str(beside) if beside.is_file() else None)
    if local:
        return [local, str(provisioning), str(data), str(port)]
    homes = (Path("/usr/share/grafana"), Path(_installed("grafana")).resolve().parents[1])
    home = next(home for home in homes if (home / "conf" / "defaults.ini").is_file())
    return [_installed("grafana"), "server", "--homepath", str(home)]


def _replace(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text, path
    path.write_text(text.replace(old, new))


def _installed(program: str) -> str:
    """The path of a program, without which the test is skipped."""
    found = shutil.which(program)
    if found is None:
        pytest.skip(
            f"{program} is not installed: apt-get install {program} (Grafana: see its site, or set GRAFANA_LOCAL)"
        )
    return found
