"""Real services, a real Prometheus, a real Alertmanager: every panel and rule has data, and an alert arrives."""

import contextlib
import html
import json
import math
import os
import re
import shutil
import sys
import threading
import time

import pytest
import yaml

import watched
from harness import ROOT
from harness.metrics import get
from harness.processes import Process, free_port, wait_until
from harness.services import TurnFailed, chat
from harness.tools import Tool, fetched
from stack import Prometheus, by_service, cluster

PICTURE = ROOT / "deploy/grafana/picture.py"


def turn(gateway, session, tokens):
    chat(gateway, session, "--prompt", "Who art thou, and whence comest thou?", "--max-tokens", tokens, "--ignore-eos")


class Load(threading.Thread):
    """Conversations, each a thread's: turn, pause, turn. Some pauses are long enough for the session to be evicted."""

    def __init__(self, gateway, name, pause):
        super().__init__(daemon=True)
        self.gateway, self.name, self.pause = gateway, name, pause
        self.stopping = threading.Event()
        self.turns, self.failures = 0, []

    def run(self):
        while not self.stopping.is_set():
            try:
                turn(self.gateway, f"{self.name}-{self.turns // 8}", tokens=48)
                self.turns += 1
            except TurnFailed as failure:
                self.failures.append(str(failure))
            self.stopping.wait(self.pause)

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_):
        self.stopping.set()
        self.join()


def shortened(folder):
    """The rules with pauses of a second instead of minutes; their pattern."""
    target = folder / "rules"
    target.mkdir()
    for path in watched.RULE_FILES:
        text = re.sub(r"^( +for:) .*$", r"\1 1s", path.read_text(), flags=re.MULTILINE)
        (target / path.name).write_text(text)
    return str(target / "*.yaml")


def config(services, rules, alertmanager):
    """deploy/prometheus/prometheus.yml with the addresses of here, once a second."""
    shipped = yaml.safe_load((ROOT / "deploy/prometheus/prometheus.yml").read_text())
    shipped["global"] = {"scrape_interval": "1s", "evaluation_interval": "1s"}
    shipped["rule_files"] = [rules]
    shipped["alerting"]["alertmanagers"][0]["static_configs"][0]["targets"] = [alertmanager]
    for job in shipped["scrape_configs"]:
        service = job["job_name"].removeprefix("lckv-")
        job["static_configs"][0]["targets"] = [s.metrics for name, s in by_service(services) if name == service]
    return yaml.safe_dump(shipped)


class Alertmanager(Process):
    def __init__(self, folder):
        port = free_port()
        self.address = f"127.0.0.1:{port}"
        path = folder / "alertmanager.yml"
        path.write_text((ROOT / "deploy/alertmanager/alertmanager.yml").read_text())
        super().__init__(
            folder,
            "alertmanager",
            [
                fetched("alertmanager") / "prometheus-alertmanager",
                f"--config.file={path}",
                f"--storage.path={folder / 'am'}",
                f"--web.listen-address={self.address}",
                "--cluster.listen-address=",
            ],
            cwd=fetched("alertmanager"),
        )
        self.wait_for_start(lambda: get(f"http://{self.address}/-/ready"))

    def alerts(self):
        return json.loads(get(f"http://{self.address}/api/v2/alerts"))


class Watched:
    """All of it, running, with load, until `stack` (an ExitStack) ends."""

    def __init__(self, folder, stack):
        # The gateway soon sees who is gone.
        hasty = ["--suspect-after", "1s", "--stall-timeout", "1s"]
        self.services = stack.enter_context(cluster(folder, workers=2, gateway_flags=hasty))
        self.alertmanager = stack.enter_context(Alertmanager(folder))
        settings = config(self.services, shortened(folder), self.alertmanager.address)
        self.prometheus = stack.enter_context(Prometheus(folder, settings))
        self.gateway = self.services["gateway"].listen
        pauses = {"busy-0": 0.2, "busy-1": 0.2, "idle-0": 3.5, "idle-1": 3.5}
        self.load = [stack.enter_context(Load(self.gateway, name, pause)) for name, pause in pauses.items()]


@pytest.fixture(scope="module", name="live")
def fixture_live(tmp_path_factory):
    with contextlib.ExitStack() as stack:
        yield Watched(tmp_path_factory.mktemp("live"), stack)


def numbers(prometheus, expression):
    return [value for _, value in prometheus.query(expression) if not math.isnan(value)]


def test_the_targets_are_up_and_the_load_is_seen(live):
    wait_until("targets", lambda: len(numbers(live.prometheus, "up == 1")) == 4)
    wait_until("restores", lambda: numbers(live.prometheus, "sum(rate(lckv_worker_restored_bytes_total[30s])) > 0"))
    for target in live.prometheus.api("targets")["activeTargets"]:
        assert target["lastError"] == ""


def test_a_drain_hands_everything_over(live):
    live.services["worker-2"].stop()
    live.services.wait_for_workers(1)
    live.services.start("worker-2")
    live.services.wait_for_workers(2)
    # worker-2's series begin anew; what it handed over shows at the gateway's side and in the cache node.
    wait_until(
        "turns",
        lambda: numbers(live.prometheus, 'rate(lckv_gateway_requests_total{code="OK", method="Chat"}[10s]) > 0'),
    )


def test_every_panel_has_data(live):
    for where, expression in watched.panel_queries():
        wait_until(f"{where}: {expression}", lambda e=expression: numbers(live.prometheus, e))


def test_every_rule_has_data(live):
    groups = live.prometheus.api("rules")["groups"]
    states = {rule["name"]: rule for group in groups for rule in group["rules"]}
    for rule in watched.rules():
        name = rule.get("record") or rule["alert"]
        assert states[name]["health"] == "ok", states[name]
        if "record" in rule:
            assert numbers(live.prometheus, name), name
        for _, selector in watched.selectors(rule["expr"]):
            assert live.prometheus.query(selector), f"{name}: {selector}"


def test_nothing_is_wrong_with_a_sound_system(live):
    firing = {
        labels["alertname"] for labels, _ in live.prometheus.query('ALERTS{alertstate="firing", severity="page"}')
    }
    assert not firing
    assert not numbers(live.prometheus, 'sum(increase(lckv_worker_reencoded_tokens_total{reason!="complete"}[5m])) > 0')


def test_the_overview_can_be_drawn(live, tmp_path):
    """From the committed dashboard and the live data; as a picture where there is a Chromium."""
    out = os.environ.get("LCKV_PICTURE", str(tmp_path / "overview.png"))
    line = [
        sys.executable,
        "-B",
        PICTURE,
        "--prometheus",
        live.prometheus.url,
        "--html",
        tmp_path / "overview.html",
        "--minutes",
        os.environ.get("LCKV_PICTURE_MINUTES", "1"),
    ]
    if os.environ.get("LCKV_PICTURE"):
        time.sleep(60 * float(os.environ["LCKV_PICTURE_MINUTES"]))
    if shutil.which("chromium"):
        line += ["--png", out]
    Tool(*line, seconds=120).run()
    page = (tmp_path / "overview.html").read_text()
    for panel in watched.panels_of(json.loads((ROOT / "deploy/grafana/overview.json").read_text())):
        assert f"<h2>{html.escape(panel['title'])}</h2>" in page, panel["title"]
    assert page.count("<path") >= 15
    if shutil.which("chromium"):
        assert 10_000 < os.path.getsize(out) < 300_000


def test_a_killed_worker_is_an_alert_in_alertmanager(live):
    victim = live.services["worker-1"]
    victim.kill()

    def arrived():
        return [
            a
            for a in live.alertmanager.alerts()
            if a["labels"]["alertname"] == "LckvWorkerDown" and a["labels"]["instance"] == victim.metrics
        ]

    alert = wait_until("LckvWorkerDown in Alertmanager", arrived)[0]
    assert alert["status"]["state"] == "active"
    assert alert["labels"]["severity"] == "ticket"
    assert victim.metrics in alert["annotations"]["summary"]
    assert alert["annotations"]["runbook_url"] == "docs/operating.md#lckvworkerdown"
    # The other worker carries on: conversations do not end.
    turn(live.gateway, "after-the-kill", tokens=24)


def test_no_conversation_failed(live):
    assert sum(each.turns for each in live.load) > 20
    assert all(each.is_alive() for each in live.load)
    assert [failure for each in live.load for failure in each.failures] == []
