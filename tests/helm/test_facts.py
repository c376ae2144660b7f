"""Facts between objects: what refers to something else finds it, and finds the right one."""

import re

import chart
import pytest

# Objects that the values of the matrix say are there already.
GIVEN = {"default": set(), "minimal": {("ServiceAccount", "default")}, "gpu": {("Secret", "model-store"), ("Secret", "registry")},
         "ha": {("PersistentVolumeClaim", "models"), ("Secret", "mirror"), ("Secret", "chat-tls")},
         "tls": {("PersistentVolumeClaim", "restored"), ("Secret", "cache-certificate"), ("Secret", "acme-key"), ("Secret", "test-certificate")}}
PORTS = {"gateway": 8080, "worker": 8081, "cache-node": 8082}

every_case = pytest.mark.parametrize("case", chart.CASES)


@every_case
def test_selectors_take_their_own_pods_and_no_others(case):
    objects = chart.render(case)
    pods = dict((name, pod["metadata"]["labels"]) for name, pod in objects.pods())
    for workload in objects.kind("Deployment", "StatefulSet"):
        taken = [name for name, labels in pods.items() if chart.selects(workload["spec"]["selector"], labels)]
        assert taken == [workload["metadata"]["name"]]


@every_case
def test_services_reach_ports_of_one_workload(case):
    objects = chart.render(case)
    for service in objects.kind("Service"):
        selector = {"matchLabels": service["spec"]["selector"]}
        taken = [pod for _, pod in objects.pods() if chart.selects(selector, pod["metadata"]["labels"])]
        assert len(taken) == 1, service["metadata"]["name"]
        names = {port["name"]: port["containerPort"] for port in taken[0]["spec"]["containers"][0]["ports"]}
        for port in service["spec"]["ports"]:
            assert port["targetPort"] == port["name"] and port["name"] in names
            if service["spec"].get("clusterIP") == "None":  # no translation: the port dialled is the container's
                assert port["port"] == names[port["targetPort"]]


@every_case
def test_configured_addresses_are_services_and_ports(case):
    objects = chart.render(case)
    for component in chart.COMPONENTS:
        config = objects.config(component)
        ports = {p["name"]: p["containerPort"] for p in objects.container(component)["ports"]}
        assert config["listen"].rpartition(":")[2] == str(ports["grpc"]) == str(PORTS[component])
        assert config["metrics-listen"].rpartition(":")[2] == str(ports["metrics"])
        for key in ("worker-service", "cache-node"):
            if key in config:
                host, _, port = config[key].rpartition(":")
                name, namespace, rest = host.split(".", 2)
                assert (namespace, rest) == (chart.NAMESPACE, "svc.cluster.local")
                service = objects.find("Service", name)
                assert {"name": "grpc", "port": int(port), "targetPort": "grpc", "protocol": "TCP"} in service["spec"]["ports"]
    for component in ("worker", "cache-node"):
        workload = objects.workload(component)
        assert objects.find("Service", workload["spec"]["serviceName"])["spec"]["clusterIP"] == "None"
    assert objects.config("gateway")["worker-service"].startswith(objects.workload("worker")["spec"]["serviceName"] + ".")
    assert objects.find("Service", objects.workload("worker")["spec"]["serviceName"])["spec"]["publishNotReadyAddresses"]


@every_case
def test_the_cache_node_keeps_its_address(case):
    """Clients dial it by name and keep what they found: an address of the pod would be gone after each restart."""
    objects = chart.render(case)
    for component in ("gateway", "worker"):
        service = objects.find("Service", objects.config(component)["cache-node"].partition(".")[0])
        assert "clusterIP" not in service["spec"]


def references(pod):
    """(kind, name) of every object that a pod needs."""
    spec = pod["spec"]
    yield "ServiceAccount", spec.get("serviceAccountName", "default")
    for secret in spec.get("imagePullSecrets", []):
        yield "Secret", secret["name"]
    for volume in spec.get("volumes", []):
        if "configMap" in volume:
            yield "ConfigMap", volume["configMap"]["name"]
        if "secret" in volume:
            yield "Secret", volume["secret"]["secretName"]
        if "persistentVolumeClaim" in volume:
            yield "PersistentVolumeClaim", volume["persistentVolumeClaim"]["claimName"]
    for container in chart.containers(pod):
        for source in container.get("envFrom", []):
            yield ("Secret", source["secretRef"]["name"]) if "secretRef" in source else ("ConfigMap", source["configMapRef"]["name"])
        for variable in container.get("env", []):
            if "secretKeyRef" in variable.get("valueFrom", {}):
                yield "Secret", variable["valueFrom"]["secretKeyRef"]["name"]


@every_case
def test_everything_that_is_referred_to_exists(case):
    objects = chart.render(case)
    there = {(o["kind"], o["metadata"]["name"]) for o in objects} | GIVEN[case] | {("ServiceAccount", "default")}
    there |= {("Secret", o["spec"]["secretName"]) for o in objects.kind("Certificate")}
    needed = {reference for _, pod in objects.pods() for reference in references(pod)}
    for _, pod in objects.pods():
        names = [s["name"] for s in pod["spec"].get("imagePullSecrets", [])]
        assert len(set(names)) == len(names), "server-side apply refuses two of one name"
    needed |= {("Secret", tls["secretName"]) for o in objects.kind("Ingress") for tls in o["spec"].get("tls", [])}
    assert needed <= there
    assert GIVEN[case] <= needed, "the matrix gives something that nobody uses"


@every_case
def test_volumes_and_mounts_belong_together(case):
    for name, pod in chart.render(case).pods():
        volumes = {v["name"] for v in pod["spec"].get("volumes", [])}
        owner = next((o for o in chart.render(case).kind("StatefulSet") if o["metadata"]["name"] == name), None)
        volumes |= {c["metadata"]["name"] for c in owner["spec"].get("volumeClaimTemplates", [])} if owner else set()
        mounts = [m for c in chart.containers(pod) for m in c.get("volumeMounts", [])]
        assert {m["name"] for m in mounts} == volumes, name
        for container in chart.containers(pod):
            paths = [m["mountPath"] for m in container.get("volumeMounts", [])]
            assert len(set(paths)) == len(paths)
            # A mount inside a read-only one could not be made.
            assert not any(a != b and a.startswith(b + "/") for a in paths for b in paths), paths


@every_case
def test_files_in_the_configuration_are_mounted(case):
    objects = chart.render(case)
    for component in chart.COMPONENTS:
        mounts = [m["mountPath"] for m in objects.container(component)["volumeMounts"]]
        config = [a for a in objects.container(component)["args"] if a.startswith("--config=")]
        assert config == ["--config=/etc/lckv/config/config.yaml"]
        paths = [v for v in objects.config(component).values() if isinstance(v, str) and v.startswith("/")]
        for path in paths + ["/etc/lckv/config/config.yaml"]:
            assert any(path == m or path.startswith(m + "/") for m in mounts), path
        for path in (p for p in paths if p.startswith("/etc/lckv/config/")):
            assert path.rpartition("/")[2] in objects.find("ConfigMap", objects.workload(component)["metadata"]["name"])["data"]


@pytest.mark.parametrize("case,model", [("gpu", "/model/llama-7b-w2"), ("ha", "/model/model.gguf"), ("tls", "/model")])
def test_the_model_is_looked_for_in_its_volume(case, model):
    objects = chart.render(case)
    assert objects.config("worker")["model"] == model
    assert {"name": "model", "mountPath": "/model", "readOnly": True}.items() <= next(
        m for m in objects.container("worker")["volumeMounts"] if m["name"] == "model").items()


@every_case
def test_an_autoscaler_owns_the_replicas(case):
    objects = chart.render(case)
    targets = {}
    for scaler in objects.kind("HorizontalPodAutoscaler", "ScaledObject"):
        target = scaler["spec"]["scaleTargetRef"]
        assert objects.find(target["kind"], target["name"])["apiVersion"] == target["apiVersion"]
        assert target["name"] not in targets, "two scalers of one workload"
        targets[target["name"]] = scaler
    for workload in objects.kind("Deployment", "StatefulSet"):
        assert ("replicas" in workload["spec"]) == (workload["metadata"]["name"] not in targets)
    assert objects.workload("cache-node")["spec"]["replicas"] == 1
    assert set(targets) == {"ha": {"chat-lckv-gateway", "chat-lckv-worker"}, "gpu": {"chat-lckv-worker"}}.get(case, set())


@every_case
def test_budgets_take_one_workload(case):
    objects = chart.render(case)
    for budget in objects.kind("PodDisruptionBudget"):
        taken = [n for n, pod in objects.pods() if chart.selects(budget["spec"]["selector"], pod["metadata"]["labels"])]
        assert taken == [budget["metadata"]["name"]]
        assert len({"maxUnavailable", "minAvailable"} & set(budget["spec"])) == 1


@every_case
def test_probes_ask_ports_and_services_that_are_there(case):
    objects = chart.render(case)
    runner = (chart.ROOT / "services" / "common" / "server_runner.h").read_text()
    health = set(re.findall(r'kHealth\w+\[\] = "(\w+)"', runner))
    for component in chart.COMPONENTS:
        container = objects.container(component)
        ports = {p["name"]: p["containerPort"] for p in container["ports"]}
        for kind in ("startupProbe", "readinessProbe", "livenessProbe"):
            probe = container[kind]
            tls = case == "tls"
            assert ("grpc" in probe) != tls, "the kubelet's gRPC probe knows no TLS"
            if tls:
                assert probe["httpGet"]["port"] == "metrics" and probe["httpGet"]["port"] in ports
            else:
                assert probe["grpc"]["port"] == ports["grpc"]
                assert probe["grpc"]["service"] in health
                assert probe["grpc"]["service"] == ("liveness" if kind == "livenessProbe" else "ready")
            assert probe["timeoutSeconds"] <= probe["periodSeconds"]


@every_case
def test_names_and_namespaces(case):
    for release in ("chat", "a-release-with-a-name-that-is-as-long-as-helm-lets-it"):
        seen = set()
        for o in chart.render(case, release=release):
            name, labels = o["metadata"]["name"], o["metadata"]["labels"]
            assert o["metadata"]["namespace"] == chart.NAMESPACE
            assert (o["kind"], name) not in seen
            seen.add((o["kind"], name))
            # 63 for DNS labels; a StatefulSet's pods add an ordinal and its controller a hash.
            assert len(name) <= (52 if o["kind"] == "StatefulSet" else 63)
            assert re.fullmatch(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?", name), name
            for label in labels.values():
                assert re.fullmatch(r"([A-Za-z0-9]([-_.A-Za-z0-9]*[A-Za-z0-9])?)?", label) and len(label) <= 63


def test_ingress_and_routes_lead_to_the_gateway():
    objects = chart.render("ha")
    service = objects.find("Service", "chat-lckv-gateway")
    for rule in objects.find("Ingress", "chat-lckv-gateway")["spec"]["rules"]:
        for path in rule["http"]["paths"]:
            backend = path["backend"]["service"]
            assert backend["name"] == service["metadata"]["name"]
            assert backend["port"]["name"] in {p["name"] for p in service["spec"]["ports"]}
    for route in objects.kind("HTTPRoute", "GRPCRoute"):
        for rule in route["spec"]["rules"]:
            assert rule["backendRefs"] == [{"name": service["metadata"]["name"], "port": service["spec"]["ports"][0]["port"]}]
    methods = objects.find("GRPCRoute", "chat-lckv-gateway")["spec"]["rules"][0]["matches"]
    proto = (chart.ROOT / "proto" / "lckv" / "v1" / "inference.proto").read_text()
    package, service_name = re.search(r"^package (\S+);", proto, re.M)[1], re.search(r"^service (\w+)", proto, re.M)[1]
    assert f"{package}.{service_name}" in {m["method"]["service"] for m in methods}


def test_the_public_service_has_no_metrics_port():
    for case in chart.CASES:
        objects = chart.render(case)
        public = objects.find("Service", objects.workload("gateway")["metadata"]["name"])
        assert [p["name"] for p in public["spec"]["ports"]] == ["grpc"]
