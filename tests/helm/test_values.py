"""Values: wrong ones are refused with their name, the schema knows every one and says what it is for, right ones do what they say."""

import re

import chart
import jsonschema
import pytest
import yaml

# (values, key that the refusal has to name)
WRONG = [
    ({"gatewey": {}}, "gatewey"),
    ({"gateway": {"replicas": 0}}, "replicas"),
    ({"gateway": {"replicas": "3"}}, "replicas"),
    ({"gateway": {"config": {"max-concurrent-turn": 5}}}, "max-concurrent-turn"),
    ({"gateway": {"config": {"listen": "0.0.0.0:1"}}}, "listen"),
    ({"gateway": {"config": {"grace": 30}}}, "grace"),
    ({"gateway": {"config": {"grace": "1m30s"}}}, "grace"),
    ({"gateway": {"service": {"type": "ExternalName"}}}, "type"),
    ({"gateway": {"service": {"port": 70000}}}, "port"),
    ({"gateway": {"autoscaling": {"enabled": True, "minReplicas": 5, "maxReplicas": 2}}}, "minReplicas"),
    ({"gateway": {"tls": {"enabled": True}}}, "gateway.tls.existingSecret"),
    ({"gateway": {"tls": {"requireClientCertificate": True}}}, "requireClientCertificate"),
    ({"gateway": {"maxSurge": 0}}, "maxSurge"),
    ({"gateway": {"maxSurge": "0%"}}, "maxSurge"),
    ({"gateway": {"preStopSeconds": -1}}, "preStopSeconds"),
    ({"gateway": {"extraArgs": ["listen=0.0.0.0:1"]}}, "extraArgs"),
    ({"fullnameOverride": "a.b"}, "fullnameOverride"),
    ({"fullnameOverride": "1a"}, "fullnameOverride"),
    ({"commonLabels": {"app.kubernetes.io/name": "x"}}, "commonLabels"),
    ({"worker": {"podLabels": {"app.kubernetes.io/component": "x"}}}, "podLabels"),
    ({"image": {"tag": 1.2}}, "tag"),
    ({"image": {"digest": "sha256:abc"}}, "digest"),
    ({"image": {"pullPolicy": "Sometimes"}}, "pullPolicy"),
    ({"model": {"source": "download"}}, "source"),
    ({"model": {"source": "claim"}}, "name"),
    ({"model": {"source": "init"}}, "image"),
    ({"model": {"source": "volume"}}, "reference"),
    ({"model": {"path": "/absolute"}}, "path"),
    ({"worker": {"config": {"kv-memory": "85"}}}, "kv-memory"),
    ({"worker": {"config": {"kv-dtype": "fp8"}}}, "kv-dtype"),
    ({"worker": {"config": {"device": "gpu"}}}, "device"),
    ({"worker": {"config": {"numerics": "different"}}}, "numerics"),
    ({"worker": {"config": {"max-running": 0}}}, "max-running"),
    ({"worker": {"gpu": {"resource": ""}}}, "resource"),
    ({"worker": {"autoscaling": {"type": "vpa"}}}, "type"),
    ({"worker": {"autoscaling": {"type": "keda"}}}, "prometheusAddress"),
    ({"worker": {"resources": {"limits": {"memory": "2 GB"}}}}, "memory"),
    ({"worker": {"resources": {"claims": [{"name": "gpu"}]}}}, "claims"),
    ({"worker": {"tolerations": [{"key": "a", "effect": "NoSchedul"}]}}, "effect"),
    ({"cacheNode": {"replicas": 2}}, "replicas"),
    ({"cacheNode": {"config": {"arena-bytes": "256MiBs"}}}, "arena-bytes"),
    ({"cacheNode": {"persistence": {"accessModes": ["ReadWriteMany"]}}}, "accessModes"),
    ({"cacheNode": {"persistence": {"size": "ten"}}}, "size"),
    ({"auth": {"apiKeys": {"enabled": True}}}, "auth.apiKeys.keys"),
    ({"auth": {"apiKeys": {"enabled": True, "keys": [{"tenant": "a", "sha256": "plain-text-key"}]}}}, "sha256"),
    ({"tls": {"enabled": True}}, "tls.existingSecrets"),
    ({"tls": {"certManager": {"enabled": True}}}, "issuerRef"),
    ({"networkPolicy": {"metricsFrom": [{}]}}, "metricsFrom"),
    ({"metrics": {"serviceMonitor": {"interval": "fast"}}}, "interval"),
    ({"metrics": {"prometheusRule": {"runbookBaseUrl": "git.example.com"}}}, "runbookBaseUrl"),
    ({"metrics": {"serviceMonitor": {"scrapeTimeout": "20s"}}}, "scrapeTimeout"),
    ({"tracing": {"endpoint": "collector:4317"}}, "endpoint"),
    ({"tracing": {"endpoint": "http://collector:4317/v1/traces"}}, "endpoint"),
    ({"ingress": {"enabled": True}}, "hosts"),
    ({"grpcRoute": {"enabled": True}}, "parentRefs"),
    ({"listenHost": "localhost"}, "listenHost"),
]


@pytest.mark.parametrize("values,key", WRONG, ids=[f"{k}-{i}" for i, (_, k) in enumerate(WRONG)])
def test_wrong_values_are_refused_by_name(values, key):
    with pytest.raises(chart.HelmError) as refusal:
        chart.render("default", values)
    assert re.search(rf"(?<![\w-]){re.escape(key)}(?![\w-])", str(refusal.value)), str(refusal.value)


def test_helm_3_names_them_too():
    for values, key in WRONG[::9]:
        with pytest.raises(chart.HelmError, match=re.escape(key)):
            chart.render("default", values, helm="helm3")


def test_image_volumes_need_a_cluster_that_has_them():
    with pytest.raises(chart.HelmError, match="model.source"):
        chart.render("tls", kube="1.30.0")
    with pytest.raises(chart.HelmError, match="kubeVersion"):
        chart.render("default", kube="1.26.0")


@pytest.mark.parametrize("release", ["1chat", "chat.v2"])
def test_a_release_that_services_cannot_be_named_after_is_refused(release):
    with pytest.raises(chart.HelmError, match="fullnameOverride"):
        chart.render("default", release=release)
    chart.render("default", {"fullnameOverride": "chat"}, release=release)


def test_gateways_may_be_replaced_by_a_share():
    strategy = chart.render("default", {"gateway": {"maxSurge": "25%"}}).workload("gateway")["spec"]["strategy"]
    assert strategy["rollingUpdate"] == {"maxSurge": "25%", "maxUnavailable": 0}


@pytest.mark.parametrize("part", ["gateway", "worker", "cacheNode"])
@pytest.mark.parametrize("key", ["image", "config", "extraEnv", "resources", "podSecurityContext", "securityContext"])
def test_a_default_can_be_taken_away(part, key):
    """Null is how Helm removes what values.yaml says."""
    chart.render("default", {part: {key: None}})


def walk(schema, path=()):
    """(path, schema) of every node of the schema."""
    yield path, schema
    for name, child in schema.get("properties", {}).items():
        yield from walk(child, path + (name,))
    for key in ("items", "additionalProperties"):
        if isinstance(schema.get(key), dict):
            yield from walk(schema[key], path + (key,))


def test_the_schema_is_closed_and_explained():
    schema = chart.schema()
    jsonschema.Draft7Validator.check_schema(schema)
    for root in [schema, *schema["definitions"].values()]:
        for path, node in walk(root):
            if "properties" in node:
                open_ones = {("global",)}
                assert (node["additionalProperties"] is False) or path in open_ones, path
                for name, child in node["properties"].items():
                    assert child["description"].endswith((".", ")", "…")), (*path, name)


def test_every_default_is_known_and_every_value_has_a_default():
    schema, definitions = chart.schema(), chart.schema()["definitions"]
    optional = {"config", "image"}  # flags and parts of the image have their defaults elsewhere

    def compare(node, values, path):
        for part in node.get("allOf", []):
            if "$ref" in part:
                node = definitions[part["$ref"].rpartition("/")[2]]
        properties = node.get("properties")
        if not isinstance(values, dict) or not properties:
            return
        assert set(values) <= set(properties), path
        if not (path and path[-1] in optional and len(path) == 2) and path[-1:] != ("resources",) and path[-1:] != ("affinity",):
            assert set(values) == set(properties), path
        for name, value in values.items():
            compare(properties[name], value, path + (name,))

    compare({"properties": schema["properties"]}, chart.defaults(), ())
    jsonschema.validate(chart.defaults(), schema)


def test_images():
    def images(values, case="default"):
        objects = chart.render(case, values)
        return {c["image"] for _, pod in objects.pods() for c in chart.containers(pod)}
    assert images(None) == {"lckv:0.1.0"}
    assert images({"image": {"registry": "r.example.com", "tag": "2"}}) == {"r.example.com/lckv:2"}
    assert images({"global": {"imageRegistry": "g.example.com"}, "image": {"registry": "r"}}) == {"g.example.com/lckv:0.1.0"}
    digest = "sha256:" + "0" * 64
    assert images({"image": {"tag": "2", "digest": digest}}) == {f"lckv@{digest}"}
    assert images({"worker": {"image": {"tag": "2-cuda"}}}) == {"lckv:0.1.0", "lckv:2-cuda"}
    # The common digest is not that of another tag.
    assert images({"image": {"digest": digest}, "worker": {"image": {"tag": "2-cuda"}}}) == {f"lckv@{digest}", "lckv:2-cuda"}
    other = "sha256:" + "1" * 64
    assert images({"image": {"digest": digest}, "worker": {"image": {"tag": "2-cuda", "digest": other}}}) == {
        f"lckv@{digest}", f"lckv@{other}"}


def test_the_test_pod_runs_where_a_gateway_does():
    toleration = {"key": "pool", "operator": "Exists"}
    values = {"gateway": {"image": {"pullPolicy": "Always"}, "nodeSelector": {"kubernetes.io/arch": "amd64"}, "tolerations": [toleration]}}
    (pod,) = chart.render("default", values).kind("Pod")
    assert {c["imagePullPolicy"] for c in chart.containers(pod)} == {"Always"}
    assert (pod["spec"]["nodeSelector"], pod["spec"]["tolerations"]) == ({"kubernetes.io/arch": "amd64"}, [toleration])


def test_gpus_are_limits_and_tolerated():
    objects = chart.render("gpu")
    assert objects.container("worker")["resources"]["limits"] == {"nvidia.com/gpu": 1, "cpu": "8", "memory": "48Gi"}
    assert {"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"} in objects.pod("worker")["spec"]["tolerations"]
    assert "tolerations" not in objects.pod("gateway")["spec"]
    assert not any("nvidia.com/gpu" in str(chart.render("default").container(c)["resources"]) for c in chart.COMPONENTS)


def test_threads_follow_the_container():
    def threads(values):
        env = {e["name"]: e for e in chart.render("default", values).container("worker")["env"]}
        return env.get("LCKV_THREADS", {}).get("valueFrom", {}).get("resourceFieldRef", {}).get("resource")
    assert threads(None) == "requests.cpu"
    assert threads({"worker": {"resources": {"limits": {"cpu": "4"}}}}) == "limits.cpu"
    assert threads({"worker": {"config": {"threads": 2}}}) is None


@pytest.mark.parametrize("tracing,port", [({"endpoint": "http://a:14317/"}, 14317), ({"endpoint": "https://a.b"}, 4317),
                                          ({"endpoint": "http://[fd00::1]:4000"}, 4000), ({"endpoint": "http://a:1", "port": 2}, 2)])
def test_the_port_of_the_traces_is_open(tracing, port):
    egress = chart.render("default", {"tracing": tracing}).find("NetworkPolicy", "chat-lckv-worker")["spec"]["egress"]
    assert {"ports": [{"port": port, "protocol": "TCP"}]} in egress


def test_no_claim_where_nothing_is_to_be_kept():
    persistence = {"enabled": False, "existingClaim": "old"}
    volumes = chart.render("default", {"cacheNode": {"persistence": persistence}}).pod("cache-node")["spec"]["volumes"]
    assert [v for v in volumes if v["name"] == "data"] == [{"name": "data", "emptyDir": {"sizeLimit": "10Gi"}}]


def test_traces_say_which_pod():
    for component in chart.COMPONENTS:
        env = {e["name"]: e.get("value") for e in chart.render("gpu").container(component)["env"]}
        assert env["OTEL_SERVICE_NAME"] == f"lckv-{component}"
        assert env["OTEL_EXPORTER_OTLP_ENDPOINT"] == "http://collector.tracing:4317"
        assert env["OTEL_RESOURCE_ATTRIBUTES"] == "k8s.namespace.name=serving,k8s.pod.name=$(POD_NAME),cluster=a"
        # A variable must stand before the one that names it.
        assert list(env).index("POD_NAME") < list(env).index("OTEL_RESOURCE_ATTRIBUTES")
        assert not any(e["name"].startswith("OTEL_") for e in chart.render("default").container(component).get("env", []))


def test_numbers_stay_numbers():
    config = chart.render("ha").find("ConfigMap", "chat-lckv-cache-node")["data"]["config.yaml"]
    assert re.search(r"^max-sessions: 5000000$", config, re.M)
    assert re.search(r"^populate: true$", config, re.M)
    worker = chart.render("default", {"worker": {"config": {"threads": 0, "fast": False}}}).config("worker")
    assert worker["threads"] == 0 and worker["fast"] is False


def test_what_the_chart_decides_cannot_be_taken_from_it():
    fixed = {"listen", "metrics-listen", "cache-node", "worker-service", "data", "model", "random-weights", "tls-cert", "tls-key", "tls-ca"}
    properties = chart.schema()["properties"]
    for part in ("gateway", "worker", "cacheNode"):
        assert not fixed & set(properties[part]["properties"]["config"]["properties"])


def notes(case, *extra):
    said = chart.run_helm("helm4", "install", chart.RELEASE, str(chart.CHART), "--namespace", chart.NAMESPACE, "--dry-run=client",
                          *chart.case_arguments(case), *extra)
    return said.partition("NOTES:")[2]


@pytest.mark.parametrize("case", ["default", "minimal", "gpu", "ha"])
def test_notes_tell_what_to_type_first(case):
    text = notes(case)
    name = "lckv" if case == "minimal" else "chat-lckv"
    assert f"helm test chat -n {chart.NAMESPACE}\n" in text and f"logs {name}-test --all-containers" in text
    assert f"exec -i deploy/{name}-gateway -- lckv chat --server 127.0.0.1:8080" in text
    assert ("every session is lost" in text) == (case == "minimal")
    assert ("one worker only" in text) == (case == "minimal")
    assert ("model.source=claim" in text) == (case in ("default", "minimal"))


@pytest.mark.parametrize("model", ["random", "claim"])
def test_notes_tell_what_a_guarded_gateway_wants(model):
    turn = "--tokens-json /dev/stdin" if model == "random" else '--prompt "Hello"'
    extra = ("--set", f"model.source={model},model.claim.name=models,auth.apiKeys.enabled=true,auth.apiKeys.existingSecret=keys")
    text = notes("default", *extra)
    assert "API key in LCKV_API_KEY" in text and "exec" not in text
    assert f"lckv chat --server 127.0.0.1:8080 {turn}" in text
    text = notes("default", *extra, "--set", "gateway.tls.enabled=true,gateway.tls.existingSecret=public")
    assert f"--tls --tls-ca CA_FILE --tls-name chat-lckv-gateway.serving.svc.cluster.local {turn}" in text


def test_notes_warn_of_an_autoscaler_that_may_leave_one_worker():
    scaler = ("--set", "worker.replicas=4,worker.autoscaling.type=hpa,worker.autoscaling.minReplicas=")
    assert "one worker only" in notes("default", scaler[0], scaler[1] + "1")
    assert "one worker only" not in notes("default", scaler[0], scaler[1] + "2")


def test_notes_warn_of_workers_that_drain_too_early():
    warning = "worker.preStopSeconds ({}) is not longer than the cache node may take to end ({} s)"
    assert "worker.preStopSeconds" not in notes("default")
    assert warning.format(30, 40) in notes("default", "--set", "cacheNode.config.grace=30s")
    assert warning.format(20, 20) in notes("default", "--set", "worker.preStopSeconds=20")


def test_the_test_pod_holds_a_conversation():
    (pod,) = chart.render("default").kind("Pod")
    assert pod["metadata"]["annotations"]["helm.sh/hook"] == "test"
    steps = [(c["name"], c["args"][0]) for c in chart.containers(pod)]
    assert steps == [("turn-1", "chat"), ("turn-2", "chat"), ("close", "sessions")]
    hooks = [o for o in chart.render("default") if "helm.sh/hook" in o["metadata"].get("annotations", {})]
    assert {o["metadata"]["name"] for o in hooks} == {"chat-lckv-test"}, "helm test --logs looks for a pod of every hook's name"
    turns = chart.render("default").find("ConfigMap", "chat-lckv-test")["data"]
    vocabulary = chart.defaults()["model"]["random"]["config"]["vocab_size"]
    for text in turns.values():
        assert all(0 < token < vocabulary for token in yaml.safe_load(text)["tokens"])
    (pod,) = chart.render("ha").kind("Pod")
    assert "--prompt=Hello" in pod["spec"]["initContainers"][0]["args"]
    assert not chart.render("ha").kind("Pod")[0]["spec"].get("volumes")
