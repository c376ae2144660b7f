"""Times of an upgrade: every pod gets longer to end than its service may take, and the order holds."""

import re

import chart
import pytest
from harness.services import worker_handover_seconds

SPARE = 10  # seconds between the orderly end and SIGKILL


def pre_stop_seconds(container):
    hook = container.get("lifecycle", {}).get("preStop")
    if hook is None:
        return 0
    if "sleep" in hook:
        return hook["sleep"]["seconds"]
    command, argument = hook["exec"]["command"]
    assert command == "sleep"
    return int(argument)


@pytest.mark.parametrize("kube", ["1.27.0", "1.34.0"])
@pytest.mark.parametrize("case", [c for c in chart.CASES if c != "tls"])
def test_grace_period_is_longer_than_the_end_takes(case, kube):
    objects = chart.render(case, kube=kube)
    flag = {"gateway": "grace", "worker": "drain-grace", "cache-node": "grace"}
    more = {"gateway": 0, "worker": worker_handover_seconds(), "cache-node": 0}
    for component in chart.COMPONENTS:
        end = chart.seconds(objects.config(component)[flag[component]]) + more[component]
        wait = pre_stop_seconds(objects.container(component))
        assert objects.pod(component)["spec"]["terminationGracePeriodSeconds"] == wait + end + SPARE
    assert pre_stop_seconds(objects.container("gateway")) > 0


def test_a_flag_that_is_not_given_counts_with_its_default():
    binary_defaults = {"gateway": ("services/gateway/gateway.h", "grace"), "worker": ("services/worker/worker.h", "drain_grace"),
                       "cache-node": ("services/cache_node/cache_node.h", "grace")}
    values = {"gateway": {"config": {"grace": None}}, "worker": {"config": {"drain-grace": None}},
              "cacheNode": {"config": {"grace": None}}}
    objects = chart.render("default", values)
    for component, (path, name) in binary_defaults.items():
        assert name.replace("_", "-") not in objects.config(component)
        default = int(re.search(rf"absl::Duration {name} = absl::Seconds\((\d+)\)", (chart.ROOT / path).read_text())[1])
        end = default + (worker_handover_seconds() if component == "worker" else 0)
        wait = pre_stop_seconds(objects.container(component))
        assert objects.pod(component)["spec"]["terminationGracePeriodSeconds"] == wait + end + SPARE


@pytest.mark.parametrize("duration,expected", [("500ms", 1), ("1500ms", 2), ("7s", 7), ("2m", 120), ("1h", 3600)])
def test_durations(duration, expected):
    objects = chart.render("default", {"cacheNode": {"config": {"grace": duration}}})
    assert objects.pod("cache-node")["spec"]["terminationGracePeriodSeconds"] == expected + SPARE


@pytest.mark.parametrize("case", ["default", "gpu", "ha", "tls"])
def test_workers_outlast_the_restart_of_the_cache_node(case):
    objects = chart.render(case)
    away = objects.pod("cache-node")["spec"]["terminationGracePeriodSeconds"]
    assert pre_stop_seconds(objects.container("cache-node")) == 0
    assert pre_stop_seconds(objects.container("worker")) > away, "a worker would drain into a cache node that is away"
    assert chart.seconds(objects.config("worker")["commit-timeout"]) > away, "a turn that ends meanwhile would fail"


@pytest.mark.parametrize("case", chart.CASES)
def test_updates_take_one_pod_at_a_time(case):
    objects = chart.render(case)
    strategy = objects.workload("gateway")["spec"]["strategy"]
    assert strategy["type"] == "RollingUpdate" and strategy["rollingUpdate"] == {"maxSurge": 1, "maxUnavailable": 0}
    for component in ("worker", "cache-node"):
        spec = objects.workload(component)["spec"]
        assert spec["updateStrategy"]["type"] == "RollingUpdate"
        assert spec["podManagementPolicy"] == "Parallel", "a rollback would wait for a broken pod"
    assert objects.workload("worker")["spec"]["minReadySeconds"] > 0
    assert objects.config("worker")["numerics"] == "any", "an upgrade to another numerics class would refuse old sessions"


@pytest.mark.parametrize("case", chart.CASES)
def test_a_new_chart_version_alone_restarts_nothing_and_changes_nothing_immutable(case, tmp_path):
    import shutil
    copy = tmp_path / "lckv"
    shutil.copytree(chart.CHART, copy)
    file = copy / "Chart.yaml"
    file.write_text(re.sub(r"^version: .*$", "version: 9.9.9", file.read_text(), flags=re.M))
    before, after = chart.render(case), chart.render(case, chart=str(copy))
    for component in chart.COMPONENTS:
        assert before.pod(component) == after.pod(component)
        for field in ("selector", "serviceName", "volumeClaimTemplates", "podManagementPolicy"):
            assert before.workload(component)["spec"].get(field) == after.workload(component)["spec"].get(field)
    file.write_text(re.sub(r"^appVersion: .*$", 'appVersion: "9.9.9"', file.read_text(), flags=re.M))
    released = chart.render(case, chart=str(copy))
    for field in ("selector", "serviceName", "volumeClaimTemplates", "podManagementPolicy"):
        for component in chart.COMPONENTS:
            assert before.workload(component)["spec"].get(field) == released.workload(component)["spec"].get(field)


def checksums(objects):
    return {c: objects.pod(c)["metadata"]["annotations"]["checksum/config"] for c in chart.COMPONENTS}


def test_a_changed_configuration_restarts_its_own_pods_only():
    before = checksums(chart.render("default"))
    for component, key in (("gateway", "gateway"), ("worker", "worker"), ("cache-node", "cacheNode")):
        after = checksums(chart.render("default", {key: {"config": {"log-level": "debug"}}}))
        assert {c for c in chart.COMPONENTS if before[c] != after[c]} == {component}
    seeded = checksums(chart.render("default", {"model": {"random": {"config": {"vocab_size": 4096}}}}))
    assert seeded["worker"] != before["worker"] and seeded["gateway"] == before["gateway"]


def test_a_new_api_key_restarts_nothing():
    keys = [{"tenant": "other", "sha256": "0" * 64}]
    before, after = chart.render("tls"), chart.render("tls", {"auth": {"apiKeys": {"keys": keys}}})
    secrets = [o.find("Secret", "chat-lckv-api-keys") for o in (before, after)]
    assert secrets[0] != secrets[1]
    for component in chart.COMPONENTS:
        assert before.pod(component) == after.pod(component)
        # Only files that are mounted as a folder follow their Secret.
        assert not any("subPath" in m for m in before.container(component)["volumeMounts"] if m["mountPath"].startswith("/etc/lckv"))
