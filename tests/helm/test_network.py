"""NetworkPolicies let pass what the picture of the system shows, and nothing else."""

import chart
import pytest

# Pods and addresses outside the release.
PROMETHEUS = {"namespace": "monitoring", "labels": {"app": "prometheus"}}
DNS = {"namespace": "kube-system", "labels": {"k8s-app": "kube-dns"}}
STRANGER = {"namespace": chart.NAMESPACE, "labels": {"app": "stranger"}}
TENANT = {"namespace": "tenant-a", "labels": {}, "namespace_labels": {"tenant": "yes"}}

GRPC = {"gateway": 8080, "worker": 8081, "cache-node": 8082}
FLOWS = {  # (from, to) that may talk gRPC
    ("gateway", "worker"), ("gateway", "cache-node"), ("worker", "cache-node"), ("test", "gateway")}


def pod_of(objects, component):
    if component == "test":
        (pod,) = objects.kind("Pod")
    else:
        pod = objects.pod(component)
    return {"namespace": chart.NAMESPACE, "labels": pod["metadata"]["labels"],
            "ports": {p["name"]: p["containerPort"] for c in pod["spec"]["containers"] for p in c.get("ports", [])}}


def matches_peer(peer, policy_namespace, other):
    if "ipBlock" in peer:
        return False  # no test talks from or to plain addresses
    if "namespaceSelector" in peer:
        labels = {"kubernetes.io/metadata.name": other["namespace"], **other.get("namespace_labels", {})}
        if not chart.selects(peer["namespaceSelector"], labels):
            return False
    elif other["namespace"] != policy_namespace:
        return False
    return chart.selects(peer.get("podSelector", {}), other["labels"])


def passes(objects, direction, pod, other, port, protocol, target):
    """Whether the policies of `pod` let it talk to (egress) or hear from (ingress) `other` on `port` of `target`."""
    applying = [p for p in objects.kind("NetworkPolicy") if pod["namespace"] == p["metadata"]["namespace"]
                and chart.selects(p["spec"]["podSelector"], pod["labels"]) and direction.title() in p["spec"]["policyTypes"]]
    if not applying:
        return True
    for policy in applying:
        for rule in policy["spec"].get(direction, []):
            peers = rule.get("to" if direction == "egress" else "from", [])
            ports = [(target.get("ports", {}).get(p["port"], p["port"]), p["protocol"]) for p in rule.get("ports", [])]
            if (not ports or (port, protocol) in ports) and (
                    not peers or any(matches_peer(p, policy["metadata"]["namespace"], other) for p in peers)):
                return True
    return False


def allowed(objects, source, target, port, protocol="TCP"):
    return (passes(objects, "egress", source, target, port, protocol, target)
            and passes(objects, "ingress", target, source, port, protocol, target))


@pytest.mark.parametrize("case", [c for c in chart.CASES if c != "minimal"])
def test_every_pod_has_one_policy_for_both_directions(case):
    objects = chart.render(case)
    for name, pod in objects.pods():
        policies = [p for p in objects.kind("NetworkPolicy") if chart.selects(p["spec"]["podSelector"], pod["metadata"]["labels"])]
        assert [p["spec"]["policyTypes"] for p in policies] == [["Ingress", "Egress"]], name
    assert len(objects.kind("NetworkPolicy")) == len(list(objects.pods()))


@pytest.mark.parametrize("case", [c for c in chart.CASES if c != "minimal"])
def test_who_talks_to_whom(case):
    objects = chart.render(case)
    parts = ("gateway", "worker", "cache-node", "test")
    pods = {c: pod_of(objects, c) for c in parts}
    for source in parts:
        for target in chart.COMPONENTS:
            pair = objects, pods[source], pods[target], GRPC[target]
            assert allowed(*pair) == ((source, target) in FLOWS), (source, target)
            # Each end by itself too: one that is open hides behind the other's lock.
            assert passes(objects, "egress", pods[source], *pair[2:], "TCP", pods[target]) == ((source, target) in FLOWS), (source, target)
            if target != "gateway":
                assert passes(objects, "ingress", pods[target], pods[source], GRPC[target], "TCP", pods[target]) == (
                    (source, target) in FLOWS), (source, target)
            assert not allowed(objects, pods[source], pods[target], 9090), (source, target)
        assert allowed(objects, pods[source], DNS, 53, "UDP")
        assert not allowed(objects, pods[source], STRANGER, 443)
    for target in chart.COMPONENTS:
        assert allowed(objects, PROMETHEUS, pods[target], 9090)
        assert not allowed(objects, STRANGER, pods[target], 9090)
        if target != "gateway":
            assert not allowed(objects, STRANGER, pods[target], GRPC[target])
            assert not allowed(objects, PROMETHEUS, pods[target], GRPC[target])


def test_clients_can_be_limited():
    everyone, limited = chart.render("default"), chart.render("ha")
    for client, expected in ((STRANGER, False), (TENANT, True)):
        assert allowed(everyone, client, pod_of(everyone, "gateway"), 8080)
        assert allowed(limited, client, pod_of(limited, "gateway"), 8080) == expected


def test_traces_and_downloads_get_out_only_where_asked_for():
    plain, gpu = chart.render("default"), chart.render("gpu")
    collector = {"namespace": "tracing", "labels": {}}
    for component in chart.COMPONENTS:
        assert not allowed(plain, pod_of(plain, component), collector, 4317)
        assert allowed(gpu, pod_of(gpu, component), collector, 4317)
    def rules(component):
        return gpu.find("NetworkPolicy", f"chat-lckv-{component}")["spec"]["egress"]
    download = {"to": [{"ipBlock": {"cidr": "10.20.0.0/16"}}], "ports": [{"port": 443, "protocol": "TCP"}]}
    assert download in rules("worker")
    assert download not in rules("gateway") + rules("cache-node")
