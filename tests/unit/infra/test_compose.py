"""compose.yaml, as it is written: what is pinned, published, reachable, and bounded."""

import json
import os
import re
import shutil
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

from infra.settings_reference import SERVICES as SETTINGS
from infra.settings_reference import variable
from slop.settings import FormerNames

ROOT = Path(__file__).parents[3]
TEXT = (ROOT / "compose.yaml").read_text()
COMPOSE = yaml.safe_load(TEXT)
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
OURS = {name: service for name, service in SERVICES.items() if "build" in service}
ONE_SHOT = {"configuration", "model", "gpu"}
NO_SHELL = {"redis-exporter", "kafka-exporter"}  # nothing in their images could run a check
CPU = {name for name, service in SERVICES.items() if "" in service.get("profiles", [""])}
GPU = {name for name, service in SERVICES.items() if "gpu" in service.get("profiles", ["gpu"])}
SCALED = ("collector", "featurizer", "learner", "generation", "worker", "vllm")
MEGABYTES = {"m": 1, "g": 1024}
# Whose settings a container reads where they are not those of its own name.
READERS = {"worker": "jobs", "worker-gpu": "jobs", "beat": "jobs"}
WITH_SETTINGS = [name for name in OURS if READERS.get(name, name) in SETTINGS]
# Settings that compose.yaml has the say of, by what it says, and why.
INSIDE = "of the container, whose networks nobody else is in; `ports` publishes it"
ADDRESS = "of a container of this file, in a network that leads nowhere else"
FIXED = {
    "SLOP_HOST": ("0.0.0.0", INSIDE),
    "SLOP_COLLECTOR_PORT": (8001, INSIDE),
    "SLOP_GENERATION_PORT": (8002, INSIDE),
    "SLOP_FEATURIZER_PORT": (8011, INSIDE),
    "SLOP_LEARNER_PORT": (8012, INSIDE),
    "SLOP_WORKER_PORT": (8013, INSIDE),
    "SLOP_BEAT_PORT": (8014, INSIDE),
    "SLOP_KAFKA_BOOTSTRAP": ("kafka:9092", ADDRESS),
    "SLOP_REDIS_URL": ("redis://redis:6379/0", ADDRESS),
    "SLOP_JOBS_REDIS_URL": ("redis://redis:6379/1", ADDRESS),
    "SLOP_VLLM_URL": ("${SLOP_VLLM_URLS:-http://vllm:8000/v1}", ADDRESS),
    "SLOP_FEATURIZER_URL": ("http://featurizer:8011", ADDRESS),
    "SLOP_JOBS_GENERATION_URL": ("http://generation:8002", ADDRESS),
    "SLOP_JOBS_DIR": ("/jobs", "the volume `jobs`"),
    "SLOP_MODEL": ("/model", "the volume of the model, or the folder that SLOP_MODEL_FOLDER names"),
}
# Former names of settings, the newest first, by the present ones.
FORMER = {
    variable(settings, field): names.variables
    for settings in SETTINGS.values()
    for field, about in settings.model_fields.items()
    for names in about.metadata
    if isinstance(names, FormerNames)
}

every_service = pytest.mark.parametrize("name", SERVICES)


def default(text: str) -> str:
    """A value with the defaults of its variables; a default may have a variable itself."""
    while (shorter := re.sub(r"\$\{\w+:-([^${}]*)\}", r"\1", text)) != text:
        text = shorter
    return text


def memory(name: str) -> int:
    """A service's limit, megabytes."""
    limit = default(SERVICES[name]["mem_limit"])
    return int(limit[:-1]) * MEGABYTES[limit[-1]]


@every_service
def test_every_image_has_a_version(name: str) -> None:
    tag = SERVICES[name]["image"].partition(":")[2]
    assert re.fullmatch(r"v?\d+\.\d+\.\d+", tag)


@pytest.mark.parametrize("name", OURS)
def test_our_images_have_the_version_of_the_project(name: str) -> None:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert SERVICES[name]["image"].endswith(f":{version}")


@pytest.mark.parametrize("name", OURS)
def test_our_images_have_a_target_that_does_not_run_as_root(name: str) -> None:
    stages = re.split(r"^FROM ", (ROOT / "infra/docker/Dockerfile").read_text(), flags=re.M)[1:]
    parts = {match[2]: (match[1], stage) for stage in stages if (match := re.match(r"(\S+) AS (\S+)", stage))}
    stage, users = SERVICES[name]["build"]["target"], []
    while stage in parts and not users:
        stage, text = parts[stage]
        users = re.findall(r"^USER (\S+)", text, flags=re.M)
    assert users[-1:] == ["slop"]


@pytest.mark.parametrize("name", sorted(SERVICES.keys() - OURS.keys()))
def test_upstream_images_do_not_run_as_root(name: str) -> None:
    assert SERVICES[name]["user"] not in {"0", "root", "0:0"}


def test_only_what_is_for_people_publishes_a_port_and_on_loopback() -> None:
    published = {name: service["ports"] for name, service in SERVICES.items() if "ports" in service}
    assert {name: [default(port) for port in ports] for name, ports in published.items()} == {
        "collector": ["127.0.0.1:8001:8001"],
        "generation": ["127.0.0.1:8002:8002"],
        "grafana": ["127.0.0.1:3000:3000"],
    }


def test_only_what_publishes_a_port_is_in_a_network_with_a_way_out() -> None:
    outward = {name for name, network in COMPOSE["networks"].items() if not (network or {}).get("internal")}
    assert outward == {"edge"}
    inside = {name for name, service in SERVICES.items() if "edge" in service.get("networks", [])}
    assert inside == {"collector", "generation", "grafana"}


@pytest.mark.parametrize(
    ("network", "members"),
    [
        ("log", {"kafka", "kafka-exporter", "collector", "featurizer", "learner", "worker", "generation"}),
        ("store", {"redis", "redis-exporter", "featurizer", "learner", "generation", "worker", "beat"}),
        ("engine", {"vllm", "featurizer", "generation", "prometheus"}),
    ],
)
def test_kafka_redis_and_vllm_meet_nobody_else(network: str, members: set[str]) -> None:
    assert {name for name in CPU if network in SERVICES[name].get("networks", [])} == members
    assert {name.removesuffix("-gpu") for name in GPU if network in SERVICES[name].get("networks", [])} == members


@every_service
def test_every_container_has_as_few_rights_as_it_can(name: str) -> None:
    service = SERVICES[name]
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service["read_only"] or name == "kafka"
    assert "privileged" not in service
    assert service.get("networks") or service["network_mode"] == "none"


@every_service
def test_every_container_is_bounded(name: str) -> None:
    assert memory(name) > 0
    assert SERVICES[name]["pids_limit"] > 0
    assert {"max-size", "max-file"} <= SERVICES[name]["logging"]["options"].keys()


@pytest.mark.parametrize("name", ["vllm", "vllm-gpu"])
def test_the_engines_processes_have_room_to_talk(name: str) -> None:
    assert SERVICES[name]["shm_size"] in {"512m", "1g"}  # 160 MB at least; Docker's default is 64 MB


def test_what_needs_no_language_model_has_none() -> None:
    given = {name for name, service in SERVICES.items() if "SLOP_MODEL" in (service.get("environment") or {})}
    mounted = {
        name for name, service in SERVICES.items() if any(":/model" in str(v) for v in service.get("volumes", []))
    }
    assert given == {"vllm", "worker", "worker-gpu"}
    assert mounted == {"vllm", "vllm-gpu", "worker", "worker-gpu", "model"}


def test_what_computes_gets_the_gpu_in_its_profile_and_is_found_by_the_name_that_it_has_on_a_cpu() -> None:
    reserved = {name for name, service in SERVICES.items() if "deploy" in service}
    assert reserved == {"vllm-gpu", "worker-gpu"}
    for name in reserved:
        plain, networks = name.removesuffix("-gpu"), SERVICES[name]["networks"]
        assert [plain] in [(each or {}).get("aliases") for each in networks.values()]
        assert SERVICES[name]["depends_on"]["gpu"]["condition"] == "service_completed_successfully"
    assert SERVICES["worker-gpu"]["build"]["args"] == {"TORCH": "cuda"}


@pytest.mark.parametrize("name", SCALED)
def test_what_may_be_scaled_has_nothing_that_only_one_can_have(name: str) -> None:
    service = SERVICES[name]
    assert "container_name" not in service
    assert not {variable for variable in service["environment"] if variable.endswith("_INSTANCE")}
    for port in service.get("ports", ()):
        assert f"${{SLOP_{name.upper()}_PORTS:-" in port


def test_all_containers_for_the_cpu_fit_in_12_gigabytes() -> None:
    assert sum(memory(name) for name in CPU - ONE_SHOT) <= 12 * 1024


@every_service
def test_every_server_comes_back_and_is_checked(name: str) -> None:
    service = SERVICES[name]
    assert service["restart"] == ("no" if name in ONE_SHOT else "unless-stopped")
    assert ("healthcheck" in service) == (name not in ONE_SHOT | NO_SHELL)


@every_service
def test_every_dependency_is_waited_for_by_what_it_is(name: str) -> None:
    for needed, how in SERVICES[name].get("depends_on", {}).items():
        assert how["condition"] == ("service_completed_successfully" if needed in ONE_SHOT else "service_healthy")
        assert how.get("required", True) == (not name.startswith("generation") or needed in CPU & GPU)


@pytest.mark.parametrize("path", sorted({v.split(":")[0] for s in SERVICES.values() for v in s.get("volumes", [])}))
def test_what_is_mounted_is_a_volume_and_nothing_of_the_checkout_which_others_may_not_read(path: str) -> None:
    assert path.startswith("$") or path in COMPOSE["volumes"]


def test_who_mounts_the_configuration_waits_for_it() -> None:
    mounted = {name for name, each in SERVICES.items() if "configuration:/configuration:ro" in each.get("volumes", [])}
    assert mounted == {"kafka", "redis", "prometheus", "grafana", "vllm-gpu"}
    assert {name for name, each in SERVICES.items() if "configuration" in each.get("depends_on", {})} == mounted


def test_every_setting_is_explained() -> None:
    documented = set(re.findall(r"^#?(\w+)=", (ROOT / ".env.example").read_text(), flags=re.M))
    former = {name for names in FORMER.values() for name in names}
    assert set(re.findall(r"\$\{(\w+)", TEXT)) - former <= documented


def test_a_former_name_reaches_the_containers_where_the_present_one_is_not_set() -> None:
    given = {env: value for name in WITH_SETTINGS for env, value in SERVICES[name]["environment"].items()}
    assert {"SLOP_GENERATION_MAX_CONCURRENCY", "SLOP_FIT_BASIS_STYLE_SUBJECT"} <= given.keys() & FORMER.keys()
    for env in given.keys() & FORMER.keys():  # any other comes from the file alone, by whichever name
        assert tuple(re.findall(r"\$\{(\w+):-", given[env])) == (env, *FORMER[env])
        assert given[env].endswith("}" * (1 + len(FORMER[env])))


@pytest.mark.parametrize("name", WITH_SETTINGS)
def test_every_setting_of_a_service_can_be_set_or_is_fixed_for_a_reason(name: str) -> None:
    settings = SETTINGS[READERS.get(name, name)]
    environment = SERVICES[name]["environment"]
    assert SERVICES[name]["env_file"] == [{"path": "${SLOP_ENV_FILE:-.env}", "required": False}]
    for env in {variable(settings, field) for field in settings.model_fields} & environment.keys():
        if env in FIXED:
            assert environment[env] == FIXED[env][0]
        else:  # what is not in `environment` comes from the file
            assert str(environment[env]).startswith(f"${{{env}:-")


def test_what_is_fixed_is_told() -> None:
    told = (ROOT / "docs/settings.md").read_text().partition("Not in the tables")[0]
    assert [env for env in FIXED if not env.endswith("_PORT") and f"`{env}`" not in told] == []


def test_only_our_services_get_the_file_of_settings_and_none_the_password_of_grafana() -> None:
    assert {name for name, service in SERVICES.items() if "env_file" in service} == set(WITH_SETTINGS)
    assert {SERVICES[name]["environment"]["SLOP_GRAFANA_PASSWORD"] for name in WITH_SETTINGS} == {""}


def test_prometheus_asks_every_service_by_its_name_and_port() -> None:
    config = yaml.safe_load((ROOT / "infra/prometheus/prometheus.yml").read_text())
    replicas = {
        job["job_name"]: (each["names"], each["type"], each["port"])
        for job in config["scrape_configs"]
        for each in job.get("dns_sd_configs", ())
    }
    single = {
        job["job_name"]: each["targets"] for job in config["scrape_configs"] for each in job.get("static_configs", ())
    }
    assert replicas == {
        "collector": (["collector"], "A", 8001),
        "generation": (["generation"], "A", 8002),
        "featurizer": (["featurizer"], "A", 8011),
        "learner": (["learner"], "A", 8012),
        "worker": (["worker"], "A", 8013),
        "beat": (["beat"], "A", 8014),
        "vllm": (["vllm"], "A", 8000),
    }
    assert single == {
        "redis": ["redis-exporter:9121"],
        "kafka": ["kafka-exporter:9308"],
        "prometheus": ["localhost:9090"],
    }
    for host in [*replicas, "redis-exporter", "kafka-exporter"]:
        # Exactly one network in common: on two, a replica would have two addresses and be counted twice.
        assert len(set(SERVICES["prometheus"]["networks"]) & set(SERVICES[host]["networks"])) == 1, host


def compose_is_installed() -> bool:
    """Whether the plugin is there; telling what would run needs no engine."""
    version = ["docker", "compose", "version"]
    return (
        shutil.which("docker") is not None and not subprocess.run(version, capture_output=True, check=False).returncode
    )


@pytest.mark.skipif(not compose_is_installed(), reason="docker compose is missing: install Docker's compose plugin")
@pytest.mark.parametrize(
    ("arguments", "expected"),
    [([], CPU), (["--profile", "cpu"], CPU), (["--profile", "gpu"], GPU)],
    ids=["by default", "cpu", "gpu"],
)
def test_exactly_one_engine_runs_whatever_the_profile(arguments: list[str], expected: set[str]) -> None:
    command = ["docker", "compose", "--env-file", "/dev/null", *arguments, "config", "--services"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert set(done.stdout.split()) == expected
    assert len({"vllm", "vllm-gpu"} & expected) == len({"worker", "worker-gpu"} & expected) == 1


@pytest.mark.skipif(not compose_is_installed(), reason="docker compose is missing: install Docker's compose plugin")
def test_a_setting_in_the_file_reaches_our_services_and_moves_no_address(tmp_path: Path) -> None:
    chosen = tmp_path / "chosen.env"
    chosen.write_text('SLOP_TENANT=acme\nSLOP_COLLECTOR_PORT=9001\nSLOP_REWARD_WEIGHTS={"share": 2, "skip": 0.3}\n')
    command = ["docker", "compose", "--env-file", str(chosen), "config", "--format", "json"]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("SLOP_")}
    environment["SLOP_ENV_FILE"] = str(chosen)
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    services = json.loads(done.stdout)["services"]
    for name in set(WITH_SETTINGS) & CPU:
        got = services[name]["environment"]
        assert (got["SLOP_TENANT"], got["SLOP_COLLECTOR_PORT"]) == ("acme", "8001")
        assert json.loads(got["SLOP_REWARD_WEIGHTS"]) == {"share": 2, "skip": 0.3}
    assert services["collector"]["ports"][0]["published"] == "9001"


def pins(name: str) -> dict[str, set[str]]:
    """The versions of every package of a lock file, one for each kind of machine."""
    found: dict[str, set[str]] = {}
    for package, version in re.findall(r"^([\w.-]+)==(\S+)", (ROOT / "requirements" / name).read_text(), flags=re.M):
        found.setdefault(package, set()).add(version)
    return found


@pytest.mark.parametrize("lock", ["build", "services", "featurizer", "worker", "engine", "model"])
def test_images_have_the_packages_that_the_local_run_has(lock: str) -> None:
    local = pins("local.txt") | pins("nodeps.txt")
    assert [package for package, own in pins(f"{lock}.txt").items() if not own <= local.get(package, set())] == []
