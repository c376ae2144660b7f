"""Rules and configurations are valid, and each alert fires when it should and only then."""

import pytest
import yaml

import watched
from harness import ROOT
from harness.metrics import registry
from harness.tools import Tool, fetched, promtool

GATEWAY, WORKER, NODE = (
    '{job="lckv-%s", instance="%s"' % pair for pair in (("gateway", "g"), ("worker", "w"), ("cache-node", "c"))
)
TURNS = "lckv_gateway_requests_total" + GATEWAY + ', method="Chat", code="%s"}'
TTFT = "lckv_gateway_time_to_first_token_seconds_%s" + GATEWAY + "%s}"
ITL = "lckv_gateway_inter_token_latency_seconds_%s" + GATEWAY + "%s}"
REENCODED = "lckv_worker_reencoded_tokens_total" + WORKER + ', reason="%s"}'
LOOKUPS = "lckv_cache_page_lookups_total" + NODE + ', tier="%s"}'
SYNC = "lckv_cache_sync_seconds_bucket" + NODE + ', le="%s"}'


def one(metric, where, values, more=""):
    return {metric + where + more + "}": values}


def fast(slow_share, histogram, bound, turns=100):
    """Of 100 events a minute, `slow_share` percent above the bound; so many turns a minute."""
    return {
        histogram % ("bucket", f', le="{bound}"'): f"0+{100 - slow_share}x600",
        histogram % ("count", ""): "0+100x600",
        TURNS % "OK": f"0+{turns:g}x600",
    }


def failing(percent, turns=1000):
    """`turns` a minute, `percent` of them fail."""
    bad = turns * percent / 100
    return {TURNS % "OK": f"0+{turns - bad:g}x600", TURNS % "INTERNAL": f"0+{bad:g}x600"}


def steady(metric, where, per_minute, more=""):
    return one(metric, where, f"0+{per_minute}x600", more)


def level(metric, where, value, more=""):
    return one(metric, where, f"{value}x600", more)


EVICTED = ', reason="pressure"'
IDLE = ', state="idle"'
# A value that grows from one minute to the next is written 0+1x600 (from 0, 600 times 1 more), a level 1x600.
CASES = {  # alert: (series with which it fires, series with which it does not), an hour and a half into them
    "LckvErrorsBurnFast": (failing(2), failing(1)),
    "LckvErrorsBurnSlow": (failing(0.7), failing(0.5)),
    "LckvFirstTokenBurnFast": (fast(75, TTFT, 2.5), fast(70, TTFT, 2.5)),
    "LckvFirstTokenBurnSlow": (fast(35, TTFT, 2.5), fast(25, TTFT, 2.5)),
    "LckvTokenBurnFast": (fast(16, ITL, 0.2), fast(13, ITL, 0.2)),
    "LckvTokenBurnSlow": (fast(7, ITL, 0.2), fast(5, ITL, 0.2)),
    "LckvGatewayDown": (level("up", GATEWAY, 0), level("up", GATEWAY, 1) | level("up", WORKER, 0)),
    "LckvWorkerDown": (level("up", WORKER, 0), level("up", WORKER, 1) | level("up", GATEWAY, 0)),
    "LckvCacheNodeDown": (level("up", NODE, 0), level("up", NODE, 1) | level("up", WORKER, 0)),
    "LckvNoWorkerReady": (
        level("lckv_gateway_workers", GATEWAY, 0, ', state="ready"'),
        level("lckv_gateway_workers", GATEWAY, 1, ', state="ready"'),
    ),
    "LckvMetricsMissing": (level("up", WORKER, 1), level("lckv_gateway_workers", GATEWAY, 0, ', state="dead"')),
    "LckvWorkerLookupsFail": (
        steady("lckv_gateway_worker_lookup_failures_total", GATEWAY, 2),
        level("lckv_gateway_worker_lookup_failures_total", GATEWAY, 2),
    ),
    "LckvCertificateExpires": (
        level("lckv_tls_certificate_expiry_timestamp_seconds", WORKER, 600000, ', use="components"'),
        level("lckv_tls_certificate_expiry_timestamp_seconds", WORKER, 700000, ', use="components"')
        | level("lckv_tls_certificate_expiry_timestamp_seconds", GATEWAY, 0, ', use="public"'),
    ),
    "LckvFilesRefused": (
        one("lckv_gateway_api_key_loads_total", GATEWAY, "0x75 1x600", ', outcome="failed"'),
        one("lckv_tls_loads_total", WORKER, "0x75 1x600", ', use="components", outcome="ok"'),
    ),
    "LckvStreamsContinued": (
        steady("lckv_gateway_continuations_total", GATEWAY, 1),
        one("lckv_gateway_continuations_total", GATEWAY, "0x60 1x600"),
    ),
    "LckvRestoresFallBack": (
        {REENCODED % "absent": "0+2x600", REENCODED % "complete": "0x600"}
        | steady("lckv_worker_cached_tokens_total", WORKER, 100),
        {REENCODED % "absent": "0+1x600", REENCODED % "complete": "0+9x600"}
        | steady("lckv_worker_cached_tokens_total", WORKER, 190),
    ),
    "LckvChecksumFailures": (
        one("lckv_cache_checksum_failures_total", NODE, "0x80 1x600", ', at="load"'),
        level("lckv_worker_checksum_failures_total", WORKER, 3),
    ),
    "LckvPushesFail": (
        steady("lckv_worker_push_failures_total", WORKER, 1),
        level("lckv_worker_push_failures_total", WORKER, 7),
    ),
    "LckvLeaseConflicts": (
        steady("lckv_worker_lease_conflicts_total", WORKER, 1),
        one("lckv_worker_lease_conflicts_total", WORKER, "0x80 3x600"),
    ),
    "LckvFingerprintMismatches": (
        steady("lckv_worker_fingerprint_mismatches_total", WORKER, 1),
        one("lckv_worker_fingerprint_mismatches_total", WORKER, "0x80 3x600"),
    ),
    "LckvSessionsNotPushed": (
        level("lckv_worker_unpushed_sessions", WORKER, 6) | level("lckv_worker_sessions", WORKER, 10, IDLE),
        level("lckv_worker_unpushed_sessions", WORKER, 4) | level("lckv_worker_sessions", WORKER, 10, IDLE),
    ),
    "LckvTurnsWaiting": (
        level("lckv_worker_waiting_turns", WORKER, 1),
        one("lckv_worker_waiting_turns", WORKER, "0x86 9x2 0x600"),
    ),
    "LckvTurnsRefused": (
        {TURNS % "OK": "0+98x600", TURNS % "RESOURCE_EXHAUSTED": "0+2x600"},
        {TURNS % "OK": "0+995x600", TURNS % "RESOURCE_EXHAUSTED": "0+5x600", TURNS % "UNAVAILABLE": "0+20x600"},
    ),
    "LckvKvPoolFull": (
        level("lckv_worker_kv_used_pages", WORKER, 99)
        | level("lckv_worker_kv_capacity_pages", WORKER, 100)
        | steady("lckv_worker_evictions_total", WORKER, 1, EVICTED),
        level("lckv_worker_kv_used_pages", WORKER, 99)
        | level("lckv_worker_kv_capacity_pages", WORKER, 100)
        | level("lckv_worker_evictions_total", WORKER, 4, EVICTED),
    ),
    "LckvCacheArenaTooSmall": (
        {LOOKUPS % "storage": "0+6x600", LOOKUPS % "memory": "0+4x600"} | steady("lckv_cache_evictions_total", NODE, 5),
        {LOOKUPS % "storage": "0+6x600", LOOKUPS % "memory": "0+4x600"} | level("lckv_cache_evictions_total", NODE, 5),
    ),
    "LckvCacheSyncSlow": (
        {SYNC % "0.25": "0+98x600", SYNC % "1.0": "0+100x600", SYNC % "+Inf": "0+100x600"},
        {SYNC % "0.25": "0+100x600", SYNC % "1.0": "0+100x600", SYNC % "+Inf": "0+100x600"},
    ),
    "LckvCacheDiskFilling": (
        level("lckv_cache_filesystem_free_bytes", NODE, 9) | level("lckv_cache_filesystem_size_bytes", NODE, 100),
        level("lckv_cache_filesystem_free_bytes", NODE, 0) | level("lckv_cache_filesystem_size_bytes", NODE, 0),
    ),
    "LckvCacheDiskFull": (
        level("lckv_cache_filesystem_free_bytes", NODE, 2) | level("lckv_cache_filesystem_size_bytes", NODE, 100),
        level("lckv_cache_filesystem_free_bytes", NODE, 4) | level("lckv_cache_filesystem_size_bytes", NODE, 100),
    ),
    "LckvCacheSessionsNearLimit": (
        level("lckv_cache_sessions", NODE, 95) | level("lckv_cache_session_capacity", NODE, 100),
        level("lckv_cache_sessions", NODE, 85) | level("lckv_cache_session_capacity", NODE, 100),
    ),
}
FULL_POOL = level("lckv_worker_kv_used_pages", WORKER, 99) | level("lckv_worker_kv_capacity_pages", WORKER, 100)
HERE, THERE = ', namespace="here"', ', namespace="there"'
READY = ', state="ready"'
# Where an expression has more than one side: (alert, series, whether it fires).
MORE_CASES = [
    (
        "LckvFilesRefused",
        one("lckv_tls_loads_total", WORKER, "0x75 1x600", ', use="components", outcome="failed"'),
        True,
    ),
    ("LckvChecksumFailures", one("lckv_worker_checksum_failures_total", WORKER, "0x80 1x600"), True),
    (
        "LckvKvPoolFull",
        FULL_POOL | steady("lckv_worker_turns_total", WORKER, 1, ', outcome="RESOURCE_EXHAUSTED"'),
        True,
    ),
    (
        "LckvKvPoolFull",
        FULL_POOL
        | level("lckv_worker_kv_used_pages", WORKER, 90)
        | steady("lckv_worker_evictions_total", WORKER, 1, EVICTED),
        False,
    ),
    (
        "LckvCacheArenaTooSmall",
        {LOOKUPS % "storage": "0+4x600", LOOKUPS % "memory": "0+6x600"} | steady("lckv_cache_evictions_total", NODE, 5),
        False,
    ),
    (
        "LckvCacheDiskFilling",
        level("lckv_cache_filesystem_free_bytes", NODE, 11) | level("lckv_cache_filesystem_size_bytes", NODE, 100),
        False,
    ),
    # Both windows count: what is over, and what has only begun.
    ("LckvErrorsBurnFast", {TURNS % "OK": "0+1000x600", TURNS % "INTERNAL": "0x40 0+50x30 1500x600"}, False),
    ("LckvErrorsBurnFast", {TURNS % "OK": "0+1000x600", TURNS % "INTERNAL": "0x83 0+100x600"}, False),
    ("LckvErrorsBurnSlow", {TURNS % "OK": "0+1000x600", TURNS % "INTERNAL": "0+20x50 1000x600"}, False),
    ("LckvErrorsBurnSlow", {TURNS % "OK": "0+1000x600", TURNS % "INTERNAL": "0x70 220x600"}, False),
    ("LckvErrorsBurnFast", failing(50, turns=0.1), False),  # failed turns of a quiet night
    ("LckvErrorsBurnFast", failing(50, turns=0.2), True),  # many failed turns of few
    ("LckvFirstTokenBurnFast", fast(75, TTFT, 2.5, turns=0.1), False),  # slow first tokens of a quiet night
    ("LckvFirstTokenBurnFast", fast(75, TTFT, 2.5, turns=0.2), True),  # of few turns
    ("LckvTokenBurnFast", fast(16, ITL, 0.2, turns=0.1), False),  # slow tokens of a quiet night
    ("LckvTokenBurnFast", fast(16, ITL, 0.2, turns=0.2), True),  # of few turns
    (  # a lone refused turn
        "LckvTurnsRefused",
        {TURNS % "OK": "0+1x600", TURNS % "RESOURCE_EXHAUSTED": "0x84 1x600"},
        False,
    ),
    ("LckvGatewayDown", {'up{job="gateway", instance="g"}': "0x600"}, False),  # a gateway of something else
    (  # no worker, though another namespace has some
        "LckvNoWorkerReady",
        level("lckv_gateway_workers", GATEWAY, 0, READY + HERE)
        | level("lckv_gateway_workers", GATEWAY, 2, READY + THERE),
        True,
    ),
    ("LckvCacheNodeDown", level("lckv_gateway_workers", GATEWAY, 1, READY), True),  # no cache node among the targets
    (  # a cache node of another namespace
        "LckvCacheNodeDown",
        level("lckv_gateway_workers", GATEWAY, 1, READY + HERE) | level("up", NODE, 1, THERE),
        True,
    ),
    (  # a cache node that is there
        "LckvCacheNodeDown",
        level("lckv_gateway_workers", GATEWAY, 1, READY + HERE) | level("up", NODE, 1, HERE),
        False,
    ),
    (  # no gateway, though another namespace has one
        "LckvMetricsMissing",
        level("lckv_worker_turn_capacity", WORKER, 64, HERE) | level("lckv_gateway_workers", GATEWAY, 2, READY + THERE),
        True,
    ),
    (  # a gateway that is there
        "LckvMetricsMissing",
        level("lckv_worker_turn_capacity", WORKER, 64, HERE) | level("lckv_gateway_workers", GATEWAY, 2, READY + HERE),
        False,
    ),
]


def case(alert, series, fires):
    """A promtool test: `alert` fires an hour and a half into `series`, or does not."""
    expected = [{"labels": "{}", "value": 1}] if fires else []
    firing = f'count(ALERTS{{alertname="{alert}", alertstate="firing"}})'
    return {
        "name": f"{alert} {'fires' if fires else 'is quiet'}",
        "interval": "1m",
        "input_series": [{"series": name, "values": values} for name, values in series.items()],
        "promql_expr_test": [{"expr": firing, "eval_time": "90m", "exp_samples": expected}],
    }


def run_cases(folder, cases):
    path = folder / "cases.yaml"
    path.write_text(
        yaml.safe_dump(
            {"rule_files": [str(p) for p in watched.RULE_FILES], "evaluation_interval": "1m", "tests": cases}
        )
    )
    done = promtool("test", "rules", path, check=False)
    return done.returncode, done.stdout + done.stderr


def test_configurations_are_valid():
    assert "rule files found" in promtool("check", "config", ROOT / "deploy/prometheus/prometheus.yml").stdout
    Tool(fetched("alertmanager") / "amtool").run("check-config", ROOT / "deploy/alertmanager/alertmanager.yml")


def test_alertmanager_names_alerts_that_exist():
    config = yaml.safe_load((ROOT / "deploy/alertmanager/alertmanager.yml").read_text())
    routed = {
        m for rule in config["inhibit_rules"] for key in ("source_matchers", "target_matchers") for m in rule[key]
    }
    for matcher in routed:
        for name in matcher.split('"')[1].split("|"):
            stem = name.removesuffix(".*")
            assert any(a == stem or name.endswith(".*") and a.startswith(stem) for a in watched.alerts()), name


def test_each_alert_has_a_case():
    assert set(CASES) == set(watched.alerts())


@pytest.mark.parametrize("alert", list(CASES))
def test_alert_fires_when_it_should_and_only_then(alert, tmp_path):
    bad, good = CASES[alert]
    status, output = run_cases(tmp_path, [case(alert, bad, True), case(alert, good, False)])
    assert status == 0, output


@pytest.mark.parametrize("alert, series, fires", MORE_CASES)
def test_both_sides_of_an_expression_count(alert, series, fires, tmp_path):
    status, output = run_cases(tmp_path, [case(alert, series, fires)])
    assert status == 0, output


def test_without_turns_there_is_no_share(tmp_path):
    """Nothing, which a dashboard can show as such, instead of 0 / 0."""
    quiet = case("LckvErrorsBurnFast", {TURNS % "OK": "7x600", TURNS % "INTERNAL": "0x600"}, False)
    query = {"expr": "namespace:lckv_turn_errors:ratio_rate1h", "eval_time": "90m", "exp_samples": []}
    status, output = run_cases(tmp_path, [quiet | {"promql_expr_test": [query]}])
    assert status == 0, output


def test_a_case_that_is_wrong_is_noticed(tmp_path):
    status, _ = run_cases(tmp_path, [case("LckvWorkerDown", CASES["LckvWorkerDown"][1], True)])
    assert status != 0


def test_rules_read_metrics_that_exist():
    known = registry()
    for rule in watched.rules():
        for name, _ in watched.selectors(rule["expr"]):
            assert name == "up" or name in watched.records() or watched.family(name, known), rule


def test_alerts_say_what_to_do():
    document = ROOT / "docs/operating.md"
    text = document.read_text().lower() if document.exists() else None
    for name, rule in watched.alerts().items():
        assert rule["labels"]["severity"] in ("page", "ticket"), name
        assert rule["annotations"]["summary"] and rule["annotations"]["description"], name
        assert rule["annotations"]["runbook_url"] == f"docs/operating.md#{name.lower()}"
        assert text is None or f"# {name.lower()}\n" in text, f"docs/operating.md has no section {name}"
