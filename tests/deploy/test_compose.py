"""deploy/compose.yaml: that its parts agree with each other and with the binary, and that it runs."""

import os
import re
import shutil
import threading
import uuid

import containers
import pytest
import yaml

from harness import BINARY, MODEL, ROOT
from harness.processes import Process, free_port
from harness.services import say, worker_handover_seconds
from harness.tools import Tool

FOLDER = ROOT / "deploy"
LCKV = ("cache-node", "worker-1", "worker-2", "gateway")
NAME = f"lckv-test-{uuid.uuid4().hex[:8]}"


def load(path):
    """Parsed, with the defaults of ${NAME:-default}."""
    return yaml.safe_load(re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", path.read_text()))


@pytest.fixture(scope="module", name="services")
def fixture_services():
    return load(FOLDER / "compose.yaml")["services"]


def flags(service):
    """{flag: [values]} of a command written as --flag=value."""
    found = {}
    for word in service["command"][1:]:
        name, value = word.split("=", 1)
        found.setdefault(name, []).append(value)
    return found


def seconds(duration):
    value, unit = re.fullmatch(r"(\d+)(s|m)", duration).groups()
    return int(value) * {"s": 1, "m": 60}[unit]


def port(address):
    return int(address.rsplit(":", 1)[1])


def mounts(service):
    """(source, target, options) of each volume."""
    return [(entry.split(":") + [""])[:3] for entry in service.get("volumes", [])]


@pytest.mark.parametrize("more", [(), ("-f", FOLDER / "compose.gpu.yaml")])
def test_compose_accepts_it(more):
    if shutil.which("docker-compose") is None:
        pytest.skip("no docker-compose: scripts/setup.sh --deploy")
    Tool("docker-compose", "-p", NAME, "-f", FOLDER / "compose.yaml", *more).run("config", "--quiet")


@pytest.mark.parametrize("name", LCKV)
def test_the_binary_takes_each_command(services, name):
    lckv = Tool(BINARY)
    command = services[name]["command"]
    usage = lckv.output(command[0], "--help")
    for flag in flags(services[name]):
        assert re.search(rf"{re.escape(flag)}\b", usage), f"{command[0]} has no {flag}"
    if "--check-config" not in usage:
        pytest.skip("the binary has no --check-config")
    lckv.run(*(word.replace("=/model", f"={MODEL}") for word in command), "--check-config")


def test_mounted_files_exist(services):
    config = load(FOLDER / "compose.yaml")
    for name, service in services.items():
        for source, target, options in mounts(service):
            if "/" not in source:
                assert source in config["volumes"]
                continue
            assert (FOLDER / source).exists(), f"{name}: {source}"
            assert options == "ro", f"{name}: {target} is writable"
    assert (FOLDER / "prometheus" / "prometheus.yml").exists()
    assert (FOLDER / "alertmanager" / "alertmanager.yml").exists()
    assert (FOLDER / "grafana" / "overview.json").exists()


def test_everything_is_locked(services):
    for name, service in services.items():
        assert service["read_only"] is True and service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert service["user"].split(":")[0] not in ("", "0", "root"), name
        assert {"mem_limit", "cpus", "pids_limit", "healthcheck", "stop_grace_period", "restart"} <= set(service), name
        assert all(published.startswith("127.0.0.1:") for published in service.get("ports", [])), name
        assert re.search(r":[^:]*[0-9]|:dev$", service["image"]) and "latest" not in service["image"], name
    dockerfile = (FOLDER / "Dockerfile").read_text()
    assert {services[name]["user"] for name in LCKV} == {re.search(r"^USER (\S+)", dockerfile, re.M)[1]}


def test_containers_get_longer_to_end_than_services_take(services):
    handover = worker_handover_seconds()
    for name in LCKV:
        service, own = services[name], flags(services[name])
        end = seconds((own.get("--grace") or own["--drain-grace"])[0]) + (handover if "worker" in name else 0)
        assert seconds(service["stop_grace_period"]) >= end + 10, name


def test_order(services):
    """What is needed is healthy first; compose stops in the opposite order, so that a drain finds the cache node."""
    for name, needs in {"worker-1": {"cache-node"}, "worker-2": {"cache-node"}, "gateway": set(LCKV) - {"gateway"}}.items():
        assert {need for need, how in services[name]["depends_on"].items() if how["condition"] == "service_healthy"} == needs


def test_addresses_agree(services):
    listens = {name: {port(flags(services[name])["--listen"][0]), port(flags(services[name])["--metrics-listen"][0])}
               for name in LCKV}
    for name in LCKV:
        own = flags(services[name])
        for flag in ("--cache-node", "--worker"):
            for address in own.get(flag, []):
                assert port(address) == port(flags(services[address.split(":")[0]])["--listen"][0])
        assert f"127.0.0.1:{port(own['--listen'][0])}" in services[name]["healthcheck"]["test"]
        for published in services[name].get("ports", []):
            assert port(published) in listens[name]
    assert sorted(flags(services["gateway"])["--worker"]) == ["worker-1:8081", "worker-2:8081"]

    prometheus = load(FOLDER / "prometheus" / "prometheus.yml")
    scraped = {target: job["job_name"] for job in prometheus["scrape_configs"] for static in job["static_configs"]
               for target in static["targets"]}
    assert set(scraped) == {f"{name}:{port(flags(services[name])['--metrics-listen'][0])}" for name in LCKV}
    # Alerts and dashboards know the services by their jobs' names.
    assert all(re.sub(r"-\d$", "", target.split(":")[0]) in job for target, job in scraped.items())
    alertmanagers = [target for manager in prometheus["alerting"]["alertmanagers"] for static in manager["static_configs"]
                     for target in static["targets"]]
    assert alertmanagers == ["alertmanager:9093"] and "127.0.0.1:9093:9093" in services["alertmanager"]["ports"]


def test_grafana_finds_prometheus_and_the_dashboards(services):
    provisioning = FOLDER / "grafana" / "provisioning"
    source = load(provisioning / "datasources" / "prometheus.yaml")["datasources"][0]
    assert source["url"] == "http://prometheus:9090" and "127.0.0.1:9090:9090" in services["prometheus"]["ports"]
    assert source["jsonData"]["timeInterval"] == load(FOLDER / "prometheus" / "prometheus.yml")["global"]["scrape_interval"]
    folder = load(provisioning / "dashboards" / "lckv.yaml")["providers"][0]["options"]["path"]
    targets = {target: source for source, target, _ in mounts(services["grafana"])}
    assert (FOLDER / targets[folder]).resolve() == FOLDER / "grafana"
    home = services["grafana"]["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"]
    assert home.startswith(folder) and (FOLDER / "grafana" / os.path.basename(home)).exists()


def test_nobody_logs_in_to_grafana_with_the_password_that_everybody_knows(services):
    environment = services["grafana"]["environment"]
    closed = environment["GF_AUTH_DISABLE_LOGIN_FORM"] == "true" and environment["GF_AUTH_BASIC_ENABLED"] == "false"
    assert closed or environment.get("GF_SECURITY_ADMIN_PASSWORD")
    assert environment["GF_AUTH_ANONYMOUS_ORG_ROLE"] == "Viewer"


class HealthChecks(threading.Thread):
    """Runs the containers' health checks: podman leaves that to systemd, which is not everywhere."""

    def __init__(self, podman):
        super().__init__(daemon=True)
        self.podman, self.ended = podman, threading.Event()

    def run(self):
        while not self.ended.wait(1):
            for name in self.podman.output("ps", "--filter", f"name={NAME}", "--format", "{{.Names}}").split():
                self.podman.run("healthcheck", "run", name, check=False)


@pytest.fixture(name="compose")
def fixture_compose(tmp_path):
    """docker-compose, talking to a podman that has the image."""
    podman = containers.start(tmp_path)
    if shutil.which("docker-compose") is None:
        pytest.skip("no docker-compose: scripts/setup.sh --deploy")
    with containers.image(podman, f"localhost/{NAME}:test") as tag:
        yield from run_compose(podman, tag, tmp_path)


def run_compose(podman, tag, folder):
    socket = f"unix://{folder}/podman.sock"
    environment = {**podman.environment, "DOCKER_HOST": socket, "LCKV_IMAGE": tag, "LCKV_PORT": str(free_port())}
    with Process(folder, "podman", ["podman", "system", "service", "--time", "0", socket], environment=environment) as server:
        server.wait_for_start((folder / "podman.sock").exists)
        checks = HealthChecks(podman)
        checks.start()
        compose = Tool("docker-compose", "-p", NAME, "-f", FOLDER / "compose.yaml", environment=environment, seconds=300)
        try:
            yield compose
        finally:
            checks.ended.set()
            checks.join()
            compose.run("down", "--volumes", "--timeout", "1", check=False)
        server.stop()


def test_a_conversation_outlives_everything(compose):
    """The four services of lckv, as the file says; the images of the others are not at hand."""
    gateway = f"127.0.0.1:{compose.environment['LCKV_PORT']}"
    compose.run("up", "--detach", "gateway")
    tokens, first = say(gateway, "play", "Who's there?")
    assert tokens and first["restore_source"] == "new"

    holder = first["worker"].split("#")[0]
    compose.run("stop", holder)
    tokens, second = say(gateway, "play", "What news from the court?")
    assert tokens and second["worker"].split("#")[0] != holder
    assert second["restore_source"] == "cache_node" and second["usage"]["reencoded_tokens"] == 0

    compose.run("stop")
    exits = compose.output("ps", "--all")
    assert exits.count("Exit 0") == len(LCKV), exits
    compose.run("up", "--detach", "gateway")
    tokens, third = say(gateway, "play", "And what said the king?")
    assert tokens and third["restore_source"] == "cache_node" and third["usage"]["reencoded_tokens"] == 0
