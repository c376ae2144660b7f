"""The binary knows every flag that the chart passes, and takes every file that it writes. $LCKV_BINARY names the binary."""

import functools
import os
import re
import subprocess

import chart
import pytest
import yaml

from harness import BINARY

PARTS = {"gateway": "gateway", "worker": "worker", "cache-node": "cacheNode"}


@functools.lru_cache(None)
def flags(*command):
    """Long flags that a command lists in its help."""
    said = subprocess.run([BINARY, *command, "--help"], text=True, check=True, stdout=subprocess.PIPE).stdout
    heads = re.findall(r"^\s+((?:-{1,2}[\w-]+,?)+)", said, re.M)
    return {flag[2:] for head in heads for flag in head.split(",") if flag.startswith("--")}


def known(passed, *command):
    """Fails when the command lacks a flag of `passed`."""
    if not os.path.exists(BINARY):
        pytest.fail(f"no binary {BINARY}: build it, or name one in LCKV_BINARY")
    assert not set(passed) - flags(*command)


@pytest.mark.parametrize("component", chart.COMPONENTS)
def test_flags_of_the_schema_exist(component):
    config = chart.schema()["properties"][PARTS[component]]["properties"]["config"]
    known(config["properties"], component)


# Flags that no value of the chart sets: names that Kubernetes gives better, other ways to the same, and questions.
LEFT_OUT = {"help", "config", "check-config", "print-config", "help-config", "worker", "advertise", "id", "worker-id", "seed", "random-seed"}

@pytest.mark.parametrize("component", chart.COMPONENTS)
def test_the_schema_has_every_flag(component):
    """A new flag of a service becomes a value of the chart, or is left out on purpose."""
    known(["check-config"], component)
    values = set(chart.schema()["properties"][PARTS[component]]["properties"]["config"]["properties"])
    values |= {flag for case in CASES for flag in passed_flags(component, case)}
    assert not flags(component) - values - LEFT_OUT


# What none of the cases has: the matrix of the other tests, and its values on top.
CASES = {case: (case, None) for case in chart.CASES} | {"plain": ("tls", {"gateway": {"tls": {"enabled": False, "requireClientCertificate": False}}})}


def render(case):
    return chart.render(*CASES[case])


def passed_flags(component, case):
    """Flags of the command line, the configuration file and the environment."""
    container = render(case).container(component)
    variables = {e["name"] for e in container.get("env", []) if e["name"].startswith("LCKV_")}
    return ({a[2:].partition("=")[0] for a in container["args"][1:]} | set(render(case).config(component)) | {"check-config"}
            | {name[len("LCKV_"):].lower().replace("_", "-") for name in variables})


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("component", chart.COMPONENTS)
def test_flags_that_are_passed_exist(component, case):
    assert render(case).container(component)["args"][0] == component
    known(passed_flags(component, case), component)


def in_folder(value, folder):
    """A configured value with the pod's paths moved into `folder`."""
    return str(folder) + value if isinstance(value, str) and value.startswith("/") else value


def write_files(objects, component, folder):
    """The pod's files as far as the binary may look at them; the path of the configuration."""
    name = objects.workload(component)["metadata"]["name"]
    config = {key: in_folder(value, folder) for key, value in objects.config(component).items()}
    for path in (v for v in config.values() if isinstance(v, str) and v.startswith("/")):
        os.makedirs(os.path.dirname(path), exist_ok=True)
    etc = folder / "etc" / "lckv" / "config"
    etc.mkdir(parents=True, exist_ok=True)
    for file, text in objects.find("ConfigMap", name)["data"].items():
        (etc / file).write_text(text)
    (etc / "config.yaml").write_text(yaml.safe_dump(config))
    return etc / "config.yaml"


def check(component, objects, folder):
    container = objects.container(component)
    path = write_files(objects, component, folder)
    arguments = [a for a in container["args"][1:] if not a.startswith("--config=")]
    environment = {e["name"]: e.get("value", "1") for e in container.get("env", [])}
    return subprocess.run([BINARY, component, f"--config={path}", *arguments, "--check-config"],
                          env={"PATH": os.environ["PATH"], **environment}, text=True, check=False, timeout=30,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT)


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("component", chart.COMPONENTS)
def test_the_binary_takes_the_configuration(component, case, tmp_path):
    known(passed_flags(component, case), component)
    result = check(component, render(case), tmp_path)
    assert result.returncode == 0, result.stdout


def test_the_binary_would_refuse_an_unknown_key(tmp_path):
    known(["check-config"], "worker")
    objects = chart.render("default")
    path = write_files(objects, "worker", tmp_path)
    path.write_text(path.read_text() + "kv-memry: 1GB\n")
    result = subprocess.run([BINARY, "worker", f"--config={path}", "--check-config"], text=True, check=False, timeout=30,
                            stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    assert result.returncode == 1 and "kv-memry" in result.stdout


@pytest.mark.parametrize("case", chart.CASES)
def test_the_test_pod_uses_flags_of_the_tool(case):
    (pod,) = chart.render(case).kind("Pod")
    for container in chart.containers(pod):
        command = container["args"][:2] if container["args"][0] == "sessions" else container["args"][:1]
        known({a[2:].partition("=")[0] for a in container["args"] if a.startswith("--")}, *command)
