"""What a service exposes, and what the registry says of it."""

import functools
import json
import urllib.request

from prometheus_client.parser import text_string_to_metric_families

from harness import BINARY
from harness.tools import Tool


def get(url, accept="*/*"):
    """The body of a GET."""
    with urllib.request.urlopen(urllib.request.Request(url, headers={"Accept": accept}), timeout=10) as answer:
        return answer.read().decode()


def samples(address, name):
    """(labels, value) of each sample of that name that the service with this metrics address exposes now."""
    families = text_string_to_metric_families(get(f"http://{address}/metrics"))
    return [(sample.labels, sample.value) for family in families for sample in family.samples if sample.name == name]


@functools.cache
def registry(service=None):
    """The descriptors that `lckv metrics` prints, by name; those of one service only."""
    found = [json.loads(line) for line in Tool(BINARY).output("metrics").splitlines()]
    return {metric["name"]: metric for metric in found if service is None or metric["service"] in (service, "all")}
