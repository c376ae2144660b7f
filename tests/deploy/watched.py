"""The expressions of our dashboards and rules."""

import json
import re

import promql_parser
import yaml

from harness import ROOT

RULE_FILES = sorted((ROOT / "deploy/prometheus/rules").glob("*.yaml"))
DASHBOARDS = sorted((ROOT / "deploy/grafana").glob("*.json"))

# What Grafana puts in for its own variables; all of ours may be anything.
GRAFANA = {"__rate_interval": "30s", "__interval": "1s", "__range": "1h"}


def fill(expression):
    return re.sub(r"\$\{?(\w+)\}?", lambda match: GRAFANA.get(match[1], ".*"), expression)


def panels_of(dashboard):
    """The panels that show something."""
    for panel in dashboard["panels"]:
        if panel["type"] == "row":
            yield from panels_of({"panels": panel.get("panels", [])})
        else:
            yield panel


def panel_queries():
    """(dashboard and panel, expression), Grafana's variables filled in."""
    for path in DASHBOARDS:
        for panel in panels_of(json.loads(path.read_text())):
            for target in panel["targets"]:
                yield f"{path.stem}: {panel['title']}", fill(target["expr"])


def rules():
    """All rules, recording and alerting."""
    for path in RULE_FILES:
        for group in yaml.safe_load(path.read_text())["groups"]:
            yield from group["rules"]


def alerts():
    return {rule["alert"]: rule for rule in rules() if "alert" in rule}


def records():
    return {rule["record"] for rule in rules() if "record" in rule}


def selectors(expression):
    """The metrics that an expression reads: (name, the selector as text)."""
    found = []

    def visit(node):
        if isinstance(node, promql_parser.VectorSelector):
            found.append((node.name, node.prettify().strip()))

    promql_parser.walk(promql_parser.parse(expression), pre_visit=visit)
    return found


def family(sample, registry):
    """The metric that a sample's name belongs to; None when it is nobody's."""
    for suffix in ("", "_bucket", "_count", "_sum"):
        name = sample.removesuffix(suffix) if suffix else sample
        if name in registry and (suffix == "" or registry[name]["type"] == "histogram"):
            return name
    return None
