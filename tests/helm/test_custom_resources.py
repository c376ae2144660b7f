"""Objects of others' controllers, field by field: their schemas are in no package, so the fields that we use stand here."""

import chart
import jsonschema
import pytest
import yaml

STRING = {"type": "string", "minLength": 1}
DURATION = {"type": "string", "pattern": "^([0-9]+(ms|s|m|h))+$"}
COUNT = {"type": "integer", "minimum": 1}


def fields(required=(), **properties):
    """An object with these fields and no others; `required`: names, or "all"."""
    return {"type": "object", "additionalProperties": False, "properties": properties,
            "required": list(properties) if required == "all" else list(required)}


def items(schema, least=1):
    return {"type": "array", "items": schema, "minItems": least}


STRINGS = {"type": "object", "additionalProperties": {"type": "string"}}
METADATA = fields(["name", "namespace", "labels"], name=STRING, namespace=STRING, labels=STRINGS, annotations=STRINGS)
SELECTOR = fields("all", matchLabels={**STRINGS, "minProperties": 1})
RULE = {"oneOf": [
    fields(["alert", "expr"], **{"alert": STRING, "expr": STRING, "for": DURATION, "keep_firing_for": DURATION, "labels": STRINGS,
                                 "annotations": STRINGS}),
    fields(["record", "expr"], record=STRING, expr=STRING, labels=STRINGS)]}
PARENT = fields(["name"], name=STRING, namespace=STRING, sectionName=STRING, port=COUNT, kind=STRING, group=STRING)
BACKEND = fields("all", name=STRING, port=COUNT)
HOSTNAMES = items({"type": "string", "pattern": r"^(\*\.)?[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$"})
POLICY = fields("all", type={"enum": ["Pods", "Percent"]}, value=COUNT, periodSeconds={"type": "integer", "minimum": 1, "maximum": 1800})

# What each kind may say: API version -> kind -> spec.
SPECS = {
    "monitoring.coreos.com/v1": {
        "ServiceMonitor": fields("all", selector=SELECTOR, namespaceSelector=fields("all", matchNames=items(STRING)),
                                 endpoints=items(fields("all", port=STRING, path={"const": "/metrics"}, interval=DURATION,
                                                        scrapeTimeout=DURATION, relabelings=items(fields("all", targetLabel=STRING, replacement=STRING))))),
        "PrometheusRule": fields("all", groups=items(fields(["name", "rules"], name=STRING, interval=DURATION, rules=items(RULE)))),
    },
    "keda.sh/v1alpha1": {
        "ScaledObject": fields(
            "all", scaleTargetRef=fields("all", apiVersion={"const": "apps/v1"}, kind={"const": "StatefulSet"}, name=STRING),
            minReplicaCount=COUNT, maxReplicaCount=COUNT,
            advanced=fields("all", horizontalPodAutoscalerConfig=fields("all", behavior=fields(
                "all", scaleDown=fields("all", stabilizationWindowSeconds={"type": "integer", "minimum": 0, "maximum": 3600},
                                        policies=items(POLICY))))),
            triggers=items(fields("all", type={"const": "prometheus"}, metricType={"enum": ["AverageValue", "Value"]},
                                  metadata=fields("all", serverAddress=STRING, query=STRING, threshold={"type": "string", "pattern": "^[0-9]+$"})))),
    },
    "cert-manager.io/v1": {
        "Certificate": fields(
            "all", secretName=STRING, duration=DURATION, renewBefore=DURATION,
            privateKey=fields("all", algorithm={"const": "ECDSA"}, size={"const": 256}, encoding={"enum": ["PKCS1", "PKCS8"]},
                              rotationPolicy={"enum": ["Always", "Never"]}),
            usages=items({"enum": ["digital signature", "server auth", "client auth"]}), dnsNames=items(STRING),
            issuerRef=fields("all", name=STRING, kind={"enum": ["Issuer", "ClusterIssuer"]}, group=STRING)),
    },
    "gateway.networking.k8s.io/v1": {
        "HTTPRoute": fields("all", parentRefs=items(PARENT), hostnames=HOSTNAMES, rules=items(fields(
            "all", matches=items(fields("all", path=fields("all", type={"enum": ["Exact", "PathPrefix"]}, value={"type": "string", "pattern": "^/"}))),
            timeouts=fields("all", request=DURATION), backendRefs=items(BACKEND)))),
        "GRPCRoute": fields("all", parentRefs=items(PARENT), hostnames=HOSTNAMES, rules=items(fields(
            "all", matches=items(fields("all", method=fields("all", type={"const": "Exact"}, service=STRING))), backendRefs=items(BACKEND)))),
    },
}
# Kinds that each case renders.
KINDS = {"default": {"ServiceMonitor", "PrometheusRule"}, "minimal": set(), "gpu": {"ServiceMonitor", "PrometheusRule", "ScaledObject"},
         "ha": {"ServiceMonitor", "PrometheusRule", "HTTPRoute", "GRPCRoute"}, "tls": {"ServiceMonitor", "PrometheusRule", "Certificate"}}


def custom(objects):
    return [o for o in objects if o["apiVersion"] in SPECS]


@pytest.mark.parametrize("case", chart.CASES)
def test_fields(case):
    objects = custom(chart.render(case))
    assert {o["kind"] for o in objects} == KINDS[case]
    for o in objects:
        schema = fields("all", apiVersion=STRING, kind=STRING, metadata=METADATA, spec=SPECS[o["apiVersion"]][o["kind"]])
        jsonschema.validate(o, schema)


def test_a_misspelt_field_would_be_found():
    monitor = chart.render("default").kind("ServiceMonitor")[0]["spec"]
    endpoint = {**monitor["endpoints"][0], "intervall": "5s"}
    with pytest.raises(jsonschema.ValidationError, match="intervall"):
        jsonschema.validate({**monitor, "endpoints": [endpoint]}, SPECS["monitoring.coreos.com/v1"]["ServiceMonitor"])


def test_only_where_the_operator_is():
    assert not custom(chart.render("default", apis=()))
    only_monitors = chart.render("default", apis=("monitoring.coreos.com/v1/ServiceMonitor",))
    assert {o["kind"] for o in custom(only_monitors)} == {"ServiceMonitor"}


@pytest.mark.parametrize("case", ["default", "gpu", "ha", "tls"])
def test_service_monitors_find_each_pod_once(case):
    objects = chart.render(case)
    for component in chart.COMPONENTS:
        monitor = objects.find("ServiceMonitor", objects.workload(component)["metadata"]["name"])
        services = [s for s in objects.kind("Service") if chart.selects(monitor["spec"]["selector"], s["metadata"]["labels"])]
        port = monitor["spec"]["endpoints"][0]["port"]
        scraped = [s for s in services if port in {p["name"] for p in s["spec"]["ports"]}]
        assert len(scraped) == 1
        assert chart.selects({"matchLabels": scraped[0]["spec"]["selector"]}, objects.pod(component)["metadata"]["labels"])
        assert monitor["spec"]["endpoints"][0]["relabelings"] == [{"targetLabel": "job", "replacement": f"lckv-{component}"}]
        assert monitor["spec"]["namespaceSelector"]["matchNames"] == [chart.NAMESPACE]
        endpoint = monitor["spec"]["endpoints"][0]
        assert chart.seconds(endpoint["scrapeTimeout"]) <= chart.seconds(endpoint["interval"])


def test_rules_and_dashboards_arrive_as_they_are():
    objects = chart.render("default")
    rules = {o["metadata"]["name"]: o["spec"] for o in objects.kind("PrometheusRule")}
    files = sorted((chart.CHART / "rules").glob("*.yaml"))
    assert rules == {f"chat-lckv-{f.stem}": yaml.safe_load(f.read_text()) for f in files} and files
    maps = [o for o in objects.kind("ConfigMap") if o["metadata"]["labels"].get("grafana_dashboard") == "1"]
    files = sorted((chart.CHART / "dashboards").glob("*.json"))
    assert {name: text.rstrip("\n") for o in maps for name, text in o["data"].items()} == {
        f.name: f.read_text().rstrip("\n") for f in files} and files
    assert len(maps) == len(files)


def test_runbooks_get_an_address():
    def annotations(values):
        rules = [r for o in chart.render("default", values).kind("PrometheusRule") for g in o["spec"]["groups"] for r in g["rules"]]
        return {r["alert"]: r["annotations"] for r in rules if "alert" in r}
    plain = annotations(None)
    full = annotations({"metrics": {"prometheusRule": {"runbookBaseUrl": "https://git.example.com/lckv/blob/main/"}}})
    assert plain.keys() == full.keys() and plain
    for alert, texts in plain.items():
        assert full[alert] == {**texts, "runbook_url": "https://git.example.com/lckv/blob/main/" + texts["runbook_url"]}


def test_the_scaler_asks_for_a_metric_that_workers_have():
    gpu, ha = chart.render("gpu"), chart.render("ha")
    trigger = gpu.find("ScaledObject", "chat-lckv-worker")["spec"]["triggers"][0]["metadata"]
    assert trigger["query"] == 'sum(lckv_worker_waiting_turns{namespace="serving",pod=~"chat-lckv-worker-[0-9]+"})'
    metric = ha.find("HorizontalPodAutoscaler", "chat-lckv-worker")["spec"]["metrics"][0]["pods"]["metric"]["name"]
    names = "".join(p.read_text() for p in (chart.ROOT / "services" / "worker").glob("*metric*.cc"))
    assert f'"{metric}"' in names


def test_certificates_have_the_names_that_peers_check():
    objects = chart.render("tls")
    certificates = {o["spec"]["secretName"]: o["spec"] for o in objects.kind("Certificate")}
    assert set(certificates) == {"chat-lckv-gateway-tls", "chat-lckv-worker-tls", "chat-lckv-public-tls"}  # the fourth is given
    for component in ("gateway", "worker"):
        component_certificate = certificates[f"chat-lckv-{component}-tls"]
        assert component_certificate["dnsNames"] == [f"{component}.lckv"]
        assert {"server auth", "client auth"} <= set(component_certificate["usages"])
    public = certificates["chat-lckv-public-tls"]
    assert (public["dnsNames"], public["issuerRef"]["name"]) == (["chat.example.com"], "public")
    own = chart.render("tls", {"gateway": {"tls": {"issuerRef": {"name": ""}}}})
    public = next(o["spec"] for o in own.kind("Certificate") if o["metadata"]["name"] == "chat-lckv-public-tls")
    assert "chat-lckv-gateway.serving.svc.cluster.local" in public["dnsNames"] and public["issuerRef"]["name"] == "internal-ca"


def test_secrets_are_mounted_where_the_configuration_says():
    objects = chart.render("tls")
    secrets = {"gateway": "chat-lckv-gateway-tls", "worker": "chat-lckv-worker-tls", "cache-node": "cache-certificate"}
    for component, secret in secrets.items():
        volumes = {v["name"]: v for v in objects.pod(component)["spec"]["volumes"]}
        assert volumes["tls"]["secret"]["secretName"] == secret
        config = objects.config(component)
        assert [config[f"tls-{k}"] for k in ("cert", "key", "ca")] == [f"/etc/lckv/tls/{f}" for f in ("tls.crt", "tls.key", "ca.crt")]
    gateway = objects.config("gateway")
    assert [gateway[f"public-tls-{k}"] for k in ("cert", "key", "ca")] == [
        f"/etc/lckv/public-tls/{f}" for f in ("tls.crt", "tls.key", "ca.crt")]
    keys = objects.find("Secret", "chat-lckv-api-keys")["data"]
    import base64
    assert yaml.safe_load(base64.b64decode(keys["api-keys.yaml"])) == [
        {"tenant": "acme", "sha256": "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"}]
    assert gateway["api-keys"] == "/etc/lckv/api-keys/api-keys.yaml"
    plain = chart.render("tls", {"gateway": {"tls": {"enabled": False, "requireClientCertificate": False}}}).config("gateway")
    assert plain["public-plain"] is True and "public-tls-cert" not in plain
