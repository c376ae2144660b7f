"""docs/metrics.md and the real /metrics are what the registry says."""

import re

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_classic

import watched
from harness import BINARY, ROOT
from harness.metrics import get, registry
from harness.services import TurnFailed, chat
from harness.tools import Tool, promtool
from stack import by_service, cluster


TOKENS = 24  # of a turn


@pytest.fixture(scope="module", name="scrapes")
def fixture_scrapes(tmp_path_factory):
    """Of each service: (its name, the classic text, the OpenMetrics text), after some turns."""
    with cluster(tmp_path_factory.mktemp("metrics"), workers=1) as running:
        gateway = running["gateway"].listen
        for turn in range(2):
            for session in range(3):
                chat(gateway, f"session-{session}", "--prompt", f"Turn {turn}", "--max-tokens", TOKENS, "--ignore-eos")
        with pytest.raises(TurnFailed):
            chat(gateway, "no such name!", "--prompt", "Who's there?")
        urls = [(name, f"http://{service.metrics}/metrics") for name, service in by_service(running)]
        return [(name, get(url), get(url, "application/openmetrics-text;version=1.0.0,*/*;q=0.1")) for name, url in urls]


def test_the_document_is_what_the_registry_prints():
    printed = Tool(BINARY).run("metrics", "--markdown").stdout
    assert (ROOT / "docs/metrics.md").read_text() == printed, "run: lckv metrics --markdown >docs/metrics.md"


def test_descriptors_are_complete():
    for name, metric in registry().items():
        assert metric["unit"] and metric["help"].endswith(".") and metric["when_bad"].endswith("."), name
        assert (metric["type"] == "counter") == name.endswith("_total"), name
        for label, values in metric["labels"].items():
            assert re.fullmatch("[a-z]+", label) and 1 <= len(values) <= 40, name


def test_advice_names_flags_and_metrics_that_exist():
    helps = "".join(Tool(BINARY).output(service, "--help") for service in ("gateway", "worker", "cache-node"))
    known = registry()
    for name, metric in known.items():
        for flag in re.findall(r"--[a-z][a-z-]+", metric["when_bad"]):
            assert re.search(re.escape(flag) + r"\b(?!-)", helps), f"{name}: {flag}"
        for other in re.findall(r"\b(?:lckv|process)_[a-z_]+", metric["when_bad"]):
            assert other in known, f"{name}: {other}"


def test_promtool_accepts_the_classic_text(scrapes):
    for service, classic, _ in scrapes:
        own = re.sub(r"^(# \w+ )?vllm:.*\n", "", classic, flags=re.MULTILINE)  # a colon is for recording rules
        promtool("check", "metrics", text=own)


def test_both_formats_say_the_same(scrapes):
    for service, classic, openmetrics in scrapes:
        assert classic.count("\n") > 100 and openmetrics.endswith("# EOF\n"), service

        def samples(families):
            # Buckets' bounds are written as 1 and 1.0; the two scrapes differ in the process's own values.
            return {
                (s.name, *sorted((k, float(v) if k == "le" else v) for k, v in s.labels.items()))
                for family in families
                for s in family.samples
            }

        assert samples(parse_classic(classic)) == samples(parse_openmetrics(openmetrics)), service


def test_no_sample_comes_twice(scrapes):
    for service, *texts in scrapes:
        for text in texts:
            keys = [line.rsplit(" ", 1)[0] for line in text.splitlines() if not line.startswith("#")]
            assert len(keys) == len(set(keys)), service


def test_what_is_exposed_is_what_the_registry_says(scrapes):
    for service, classic, _ in scrapes:
        known = registry(service)
        seen = set()
        for family in parse_classic(classic):
            for sample in family.samples:
                name = watched.family(sample.name, known)
                assert name, f"{service}: {sample.name} is not in the registry"
                seen.add(name)
                assert family.type == known[name]["type"], name
                labels = {k: v for k, v in sample.labels.items() if k != "le"}
                assert labels.keys() == known[name]["labels"].keys(), name
                for label, value in labels.items():
                    assert value in known[name]["labels"][label], f"{name}: {label}={value}"
        assert seen == set(known), f"{service}: not exposed"


def test_the_load_was_counted(scrapes):
    values = {}
    for _, classic, _ in scrapes:
        for family in parse_classic(classic):
            for sample in family.samples:
                values[sample.name] = values.get(sample.name, 0) + sample.value
    for name in (
        "lckv_gateway_generated_tokens_total",
        "lckv_worker_output_tokens_total",
        "vllm:generation_tokens_total",
    ):
        assert values[name] == 6 * TOKENS, name
    assert values["lckv_gateway_requests_total"] >= 7
    assert values["lckv_cache_sync_seconds_count"] >= 6
    assert values["lckv_worker_step_seconds_count"] == values["lckv_worker_batch_rows_count"] > 0
    assert values["lckv_cache_filesystem_free_bytes"] > 0
