"""Both helms take the chart and make the same of it; what they make is what Kubernetes knows, and what was reviewed."""

import difflib

import chart
import generate
import kubernetes_validate
import pytest

# Groups that come with others' controllers. Their objects are checked field by field in test_custom_resources.py.
CUSTOM_GROUPS = {"monitoring.coreos.com", "keda.sh", "cert-manager.io", "gateway.networking.k8s.io"}
NEWEST = ".".join(kubernetes_validate.latest_version().split(".")[:2])
KUBE_VERSIONS = ("1.27", "1.31", "1.34", NEWEST)


@pytest.mark.parametrize("helm", chart.HELMS)
@pytest.mark.parametrize("case", chart.CASES)
def test_lint(helm, case):
    said = chart.run_helm(helm, "lint", "--strict", str(chart.CHART), *chart.case_arguments(case))
    assert "1 chart(s) linted, 0 chart(s) failed" in said


@pytest.mark.parametrize("case", chart.CASES)
def test_both_helms_render_the_same(case):
    def key(o):
        return o["kind"], o["metadata"]["name"]
    old, new = (sorted(chart.render(case, helm=helm), key=key) for helm in chart.HELMS)
    assert old == new


@pytest.mark.parametrize("version", KUBE_VERSIONS)
@pytest.mark.parametrize("case", chart.CASES)
def test_kubernetes_knows_every_field(case, version):
    if case == "tls" and version == "1.27":
        case, values = "default", {"gateway": {"tls": {"enabled": True, "existingSecret": "public"}}}  # no image volumes there
    else:
        values = None
    for o in chart.render(case, values, kube=version + ".0"):
        group = o["apiVersion"].rpartition("/")[0]
        if group in CUSTOM_GROUPS:
            continue
        kubernetes_validate.validate(o, version, strict=True)  # raises for kinds and APIs that the version does not have


def test_a_removed_api_and_an_unknown_field_would_be_found():
    budget = {"apiVersion": "autoscaling/v2beta2", "kind": "HorizontalPodAutoscaler", "metadata": {"name": "x"}, "spec": {}}
    with pytest.raises(kubernetes_validate.SchemaNotFoundError):
        kubernetes_validate.validate(budget, "1.31", strict=True)
    service = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "x"}, "spec": {"selektor": {}}}
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(service, "1.31", strict=True)


@pytest.mark.parametrize("case", chart.CASES)
def test_golden(case):
    """Any change of what is rendered shows as a diff in review; scripts/chart.sh golden takes it."""
    want = (chart.GOLDEN / f"{case}.yaml").read_text()
    have = generate.golden(case)
    if chart.yaml.load(have, Loader=chart.Loader) != chart.yaml.load(want, Loader=chart.Loader):
        diff = difflib.unified_diff(want.splitlines(), have.splitlines(), "golden", "rendered", lineterm="", n=4)
        pytest.fail(f"{case} renders differently (scripts/chart.sh golden takes it):\n" + "\n".join(diff))


@pytest.mark.parametrize("name", generate.GENERATED)
def test_generated_files_are_current(name):
    stale = generate.stale(name)
    assert not stale, f"run scripts/chart.sh {name}: {stale}"
