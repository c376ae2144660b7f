"""Real services, a real Prometheus, a real Alertmanager: every panel and rule has data, and an alert arrives."""

import json
import math
import os
import re
import shutil
import signal
import sys
import threading
import time

import pytest
import yaml

import watched
from stack import ROOT, Process, Prometheus, Stack, free_port, get, tool, wait_for

PICTURE = ROOT / "deploy/grafana/picture.py"


class Load(threading.Thread):
    """Conversations, each a thread's: turn, pause, turn. Some pauses are long enough for the session to be evicted."""

    def __init__(self, stack, name, pause):
        super().__init__(daemon=True)
        self.stack, self.name, self.pause = stack, name, pause
        self.stopping = threading.Event()
        self.turns, self.failed = 0, 0

    def run(self):
        while not self.stopping.is_set():
            if self.stack.chat(f"{self.name}-{self.turns // 8}", tokens=48, check=False):
                self.turns += 1
            else:
                self.failed += 1
            self.stopping.wait(self.pause)


def shortened(folder):
    """The rules with pauses of a second instead of minutes; their pattern."""
    target = folder / "rules"
    target.mkdir()
    for path in watched.RULE_FILES:
        text = re.sub(r"^( +for:) .*$", r"\1 1s", path.read_text(), flags=re.MULTILINE)
        (target / path.name).write_text(text)
    return str(target / "*.yaml")


def config(stack, rules, alertmanager):
    """deploy/prometheus/prometheus.yml with the addresses of here, once a second."""
    shipped = yaml.safe_load((ROOT / "deploy/prometheus/prometheus.yml").read_text())
    shipped["global"] = {"scrape_interval": "1s", "evaluation_interval": "1s"}
    shipped["rule_files"] = [rules]
    shipped["alerting"]["alertmanagers"][0]["static_configs"][0]["targets"] = [alertmanager]
    for job in shipped["scrape_configs"]:
        service = job["job_name"].removeprefix("lckv-")
        job["static_configs"][0]["targets"] = [p.metrics for name, p in stack.services() if name == service]
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
                tool("alertmanager") / "prometheus-alertmanager",
                f"--config.file={path}",
                f"--storage.path={folder / 'am'}",
                f"--web.listen-address={self.address}",
                "--cluster.listen-address=",
            ],
            cwd=tool("alertmanager"),
        )
        wait_for("alertmanager", self.ready)

    def ready(self):
        try:
            return get(f"http://{self.address}/-/ready")
        except OSError:
            return None

    def alerts(self):
        return json.loads(get(f"http://{self.address}/api/v2/alerts"))


class Watched:
    """All of it, running, with load."""

    def __init__(self, folder):
        self.stack = Stack(folder, workers=2)
        self.alertmanager = Alertmanager(folder)
        self.prometheus = Prometheus(folder, config(self.stack, shortened(folder), self.alertmanager.address))
        self.load = [Load(self.stack, f"busy-{i}", 0.2) for i in range(2)] + [
            Load(self.stack, f"idle-{i}", 3.5) for i in range(2)
        ]
        for each in self.load:
            each.start()

    def stop(self):
        for each in self.load:
            each.stopping.set()
        for each in self.load:
            each.join()
        self.prometheus.stop()
        self.alertmanager.stop()
        self.stack.stop()


@pytest.fixture(scope="module", name="live")
def fixture_live(tmp_path_factory):
    live = Watched(tmp_path_factory.mktemp("live"))
    yield live
    live.stop()


def numbers(prometheus, expression):
    return [value for _, value in prometheus.query(expression) if not math.isnan(value)]


def test_the_targets_are_up_and_the_load_is_seen(live):
    wait_for("targets", lambda: len(numbers(live.prometheus, "up == 1")) == 4)
    wait_for("restores", lambda: numbers(live.prometheus, "sum(rate(lckv_worker_restored_bytes_total[30s])) > 0"))
    for target in live.prometheus.api("targets")["activeTargets"]:
        assert target["lastError"] == ""


def test_a_drain_hands_everything_over(live):
    worker = live.stack.workers[1]
    assert worker.stop() == 0
    wait_for("one worker", lambda: live.stack.workers_ready() == 1)
    live.stack.workers[1] = live.stack.start_worker("worker-2", former=worker)
    wait_for("two workers", lambda: live.stack.workers_ready() == 2)
    # worker-2's series begin anew; what it handed over shows at the gateway's side and in the cache node.
    wait_for(
        "turns",
        lambda: numbers(live.prometheus, 'rate(lckv_gateway_requests_total{code="OK", method="Chat"}[10s]) > 0'),
    )


def test_every_panel_has_data(live):
    for where, expression in watched.panel_queries():
        wait_for(f"{where}: {expression}", lambda e=expression: numbers(live.prometheus, e))


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
    drawing = Process(tmp_path, "picture", line)
    assert drawing.popen.wait(120) == 0, drawing.log.read_text()
    page = (tmp_path / "overview.html").read_text()
    for panel in watched.panels_of(json.loads((ROOT / "deploy/grafana/overview.json").read_text())):
        assert panel["title"] in page
    assert page.count("<path") >= 15
    if shutil.which("chromium"):
        assert 10_000 < os.path.getsize(out) < 300_000


def test_a_killed_worker_is_an_alert_in_alertmanager(live):
    victim = live.stack.workers[0]
    victim.popen.send_signal(signal.SIGKILL)

    def arrived():
        return [
            a
            for a in live.alertmanager.alerts()
            if a["labels"]["alertname"] == "LckvWorkerDown" and a["labels"]["instance"] == victim.metrics
        ]

    alert = wait_for("LckvWorkerDown in Alertmanager", arrived)[0]
    assert alert["status"]["state"] == "active"
    assert alert["labels"]["severity"] == "ticket"
    assert victim.metrics in alert["annotations"]["summary"]
    assert alert["annotations"]["runbook_url"] == "docs/operating.md#lckvworkerdown"
    # The other worker carries on: conversations do not end.
    assert live.stack.chat("after-the-kill")


def test_no_conversation_failed(live):
    assert sum(each.turns for each in live.load) > 20
    assert sum(each.failed for each in live.load) == 0
