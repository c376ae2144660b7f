"""The chart as the tests see it: rendered by a real helm, parsed, and searched."""

import functools
import os
import pathlib
import re
import subprocess
import tempfile

import yaml

ROOT = pathlib.Path(__file__).resolve().parents[2]
CHART = ROOT / "helm" / "lckv"
VALUES = ROOT / "tests" / "helm" / "values"
GOLDEN = ROOT / "tests" / "helm" / "golden"

RELEASE = "chat"
NAMESPACE = "serving"
KUBE_VERSION = "1.34.0"
OPERATOR = ("monitoring.coreos.com/v1/ServiceMonitor", "monitoring.coreos.com/v1/PrometheusRule")
# The matrix: a name and the values file, if any.
CASES = ("default", "minimal", "gpu", "ha", "tls")
HELMS = ("helm3", "helm4")
COMPONENTS = ("gateway", "worker", "cache-node")

# libyaml's loader where there is one: the pure one takes most of the tests' time.
Loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class HelmError(Exception):
    """Helm refused the values; the text is what it said."""


@functools.lru_cache(None)
def helm_path(name):
    """Path of helm3 or helm4."""
    script = ROOT / "scripts" / "get-tools.sh"
    folder = subprocess.run([str(script), name], check=True, text=True, stdout=subprocess.PIPE).stdout.strip()
    return os.path.join(folder, "helm")


@functools.lru_cache(None)
def _helm_home():
    """A folder for helm's own files, removed when Python ends."""
    return tempfile.TemporaryDirectory(prefix="lckv-helm-")


def _helm_environment():
    home = _helm_home().name
    folders = {f"HELM_{kind}_HOME": os.path.join(home, kind.lower()) for kind in ("CACHE", "CONFIG", "DATA")}
    return {**os.environ, **folders, "KUBECONFIG": os.path.join(home, "none")}


def run_helm(name, *arguments, values=None):
    """Standard output of a helm command; `values`: YAML text of a values file. HelmError when it fails."""
    with tempfile.NamedTemporaryFile("w", suffix=".yaml") as file:
        if values is not None:
            file.write(values)
            file.flush()
            arguments += ("--values", file.name)
        result = subprocess.run([helm_path(name), *arguments], env=_helm_environment(), text=True, check=False, timeout=60,
                                stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    if result.returncode:
        raise HelmError(result.stdout + result.stderr)
    return result.stdout


def case_arguments(case):
    return () if case == "default" else ("--values", str(VALUES / f"{case}.yaml"))


@functools.lru_cache(None)
def _template(helm, case, values, kube, apis, chart, release):
    arguments = ["template", release, str(chart), "--namespace", NAMESPACE, "--kube-version", kube]
    for api in apis:
        arguments += ["--api-versions", api]
    return run_helm(helm, *arguments, *case_arguments(case), values=values)


def render(case="default", values=None, *, helm="helm4", kube=KUBE_VERSION, apis=OPERATOR, chart=CHART, release=RELEASE):
    """The objects of a case of the matrix, with `values` (a dict) on top; as Objects."""
    text = None if values is None else yaml.safe_dump(values)
    documents = yaml.load_all(_template(helm, case, text, kube, tuple(apis), chart, release), Loader=Loader)
    return Objects([d for d in documents if d])


class Objects:
    """Rendered Kubernetes objects."""

    def __init__(self, objects):
        self.all = objects

    def __iter__(self):
        return iter(self.all)

    def kind(self, *kinds):
        return [o for o in self.all if o["kind"] in kinds]

    def find(self, kind, name):
        """The one object of that kind and name; KeyError with what there is."""
        for o in self.kind(kind):
            if o["metadata"]["name"] == name:
                return o
        raise KeyError(f"no {kind} {name}; there are {[o['metadata']['name'] for o in self.kind(kind)]}")

    def workload(self, component):
        """Deployment or StatefulSet of a component."""
        for o in self.kind("Deployment", "StatefulSet"):
            if o["metadata"]["labels"]["app.kubernetes.io/component"] == component:
                return o
        raise KeyError(component)

    def pod(self, component):
        """Pod template of a component's workload."""
        return self.workload(component)["spec"]["template"]

    def container(self, component):
        return self.pod(component)["spec"]["containers"][0]

    def config(self, component):
        """The configuration file of a service, parsed."""
        name = self.workload(component)["metadata"]["name"]
        return yaml.load(self.find("ConfigMap", name)["data"]["config.yaml"], Loader=Loader)

    def pods(self):
        """(name, pod metadata and spec) of everything that runs."""
        for o in self.kind("Deployment", "StatefulSet"):
            yield o["metadata"]["name"], o["spec"]["template"]
        for o in self.kind("Pod"):
            yield o["metadata"]["name"], o


def containers(pod):
    """All containers of a pod, those that run first included."""
    return pod["spec"].get("initContainers", []) + pod["spec"]["containers"]


def selects(selector, labels):
    """Whether a label selector ({matchLabels: …}; empty: everything) takes an object with `labels`."""
    assert set(selector) <= {"matchLabels"}, "the tests know matchLabels only"
    return selector.get("matchLabels", {}).items() <= labels.items()


def seconds(duration):
    """Seconds of a duration such as 250ms, 30s or 10m."""
    number, unit = re.fullmatch(r"(\d+)(ms|s|m|h)", duration).groups()
    return int(number) * {"ms": 0.001, "s": 1, "m": 60, "h": 3600}[unit]


def schema():
    """values.schema.json."""
    return yaml.load((CHART / "values.schema.json").read_text(), Loader=Loader)


def defaults():
    """values.yaml."""
    return yaml.load((CHART / "values.yaml").read_text(), Loader=Loader)
