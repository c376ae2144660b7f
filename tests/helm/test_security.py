"""Every pod passes the restricted Pod Security Standard, and none has a token of the API server."""

import chart
import pytest


@pytest.mark.parametrize("case", chart.CASES)
def test_pods_are_restricted(case):
    for name, pod in chart.render(case).pods():
        spec = pod["spec"]
        assert not {"hostNetwork", "hostPID", "hostIPC"} & set(spec), name
        assert spec["securityContext"]["runAsNonRoot"] is True and spec["securityContext"]["runAsUser"] == 10001
        assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        for container in chart.containers(pod):
            context = container["securityContext"]
            assert context["allowPrivilegeEscalation"] is False and "privileged" not in context
            assert context["capabilities"] == {"drop": ["ALL"]}
            assert context["readOnlyRootFilesystem"] is True
            assert not any("hostPort" in port for port in container.get("ports", []))
            assert "memory" in container["resources"].get("limits", {}), (name, container["name"])
        kinds = {next(k for k in v if k != "name") for v in spec.get("volumes", [])}
        assert kinds <= {"configMap", "secret", "emptyDir", "persistentVolumeClaim", "image"}


@pytest.mark.parametrize("case", chart.CASES)
def test_nobody_gets_a_token(case):
    objects = chart.render(case)
    for account in objects.kind("ServiceAccount"):
        assert account["automountServiceAccountToken"] is False
    for _, pod in objects.pods():
        assert pod["spec"]["automountServiceAccountToken"] is False
        assert pod["spec"]["enableServiceLinks"] is False, "a release named lckv would set LCKV_… variables"
    assert not objects.kind("Role", "ClusterRole", "RoleBinding", "ClusterRoleBinding")


def test_secrets_reach_only_who_needs_them():
    objects = chart.render("tls")
    users = {}
    for name, pod in objects.pods():
        for volume in pod["spec"].get("volumes", []):
            if "secret" in volume:
                users.setdefault(volume["secret"]["secretName"], []).append(name)
                assert volume["secret"]["defaultMode"] == 0o440
    for component in ("gateway", "worker"):
        assert users[f"chat-lckv-{component}-tls"] == [f"chat-lckv-{component}"]
    assert users["cache-certificate"] == ["chat-lckv-cache-node"]
    assert users["chat-lckv-api-keys"] == users["chat-lckv-public-tls"] == ["chat-lckv-gateway"]


def test_security_contexts_can_be_changed():
    values = {"worker": {"podSecurityContext": {"fsGroup": 2000}, "securityContext": {"runAsUser": 2000}}}
    objects = chart.render("default", values)
    assert objects.pod("worker")["spec"]["securityContext"]["fsGroup"] == 2000
    assert objects.pod("worker")["spec"]["securityContext"]["runAsNonRoot"] is True
    context = objects.container("worker")["securityContext"]
    assert context["runAsUser"] == 2000 and context["capabilities"] == {"drop": ["ALL"]}
    assert objects.pod("gateway")["spec"]["securityContext"]["fsGroup"] == 10001


def test_a_cluster_may_choose_the_users():
    """As OpenShift does: null takes the chart's choice away. The test pod does as the gateways do."""
    free = {"runAsUser": None, "runAsGroup": None, "fsGroup": None}
    objects = chart.render("default", {"gateway": {"podSecurityContext": free}})
    (test,) = objects.kind("Pod")
    for spec in (objects.pod("gateway")["spec"], test["spec"]):
        assert not any(spec["securityContext"][key] for key in free) and spec["securityContext"]["runAsNonRoot"] is True
