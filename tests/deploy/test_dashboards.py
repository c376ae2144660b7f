"""The committed dashboards are what their builder writes, and read metrics that exist."""

import json
import shutil
import sys

import promql_parser
import pytest

import watched
from harness import ROOT
from harness.metrics import registry
from harness.tools import Tool


def check(folder):
    return Tool(sys.executable, "-B", folder / "build.py").run("--check", check=False)


def test_committed_files_are_what_the_builder_writes():
    done = check(ROOT / "deploy/grafana")
    assert done.returncode == 0, done.stdout + done.stderr + "run: $(scripts/python-env.sh) deploy/grafana/build.py"


def test_the_check_notices_a_difference(tmp_path):
    folder = tmp_path / "grafana"
    shutil.copytree(ROOT / "deploy/grafana", folder)
    (folder / "overview.json").write_text("{}")
    (folder / "engine.json").unlink()
    (folder / "forgotten.json").write_text("{}")
    done = check(folder)
    assert done.returncode == 1
    for name in ("overview", "engine", "forgotten"):
        assert f"{name}.json" in done.stdout


def test_each_dashboard_is_whole():
    uids, titles = set(), set()
    for path in watched.DASHBOARDS:
        board = json.loads(path.read_text())
        uids.add(board["uid"])
        titles.add(board["title"])
        assert board["schemaVersion"] >= 39
        assert {"datasource", "namespace"} <= {variable["name"] for variable in board["templating"]["list"]}
        seen = set()
        for panel in watched.panels_of(board):
            assert panel["title"] not in seen, f"{path.name}: two panels '{panel['title']}'"
            seen.add(panel["title"])
            assert panel["description"] and panel["targets"], panel["title"]
            assert panel["datasource"]["uid"] == "${datasource}"
            assert panel["gridPos"]["x"] + panel["gridPos"]["w"] <= 24
    assert len(uids) == len(titles) == len(watched.DASHBOARDS) == 5


@pytest.mark.parametrize("where,expression", list(watched.panel_queries()))
def test_panels_read_metrics_that_exist(where, expression):
    promql_parser.parse(expression)
    known = registry()
    for name, selector in watched.selectors(expression):
        assert name in watched.records() or watched.family(name, known), f"{where}: {name}"
        assert 'namespace=~".*"' in selector, f"{where}: {name} is of all namespaces, whatever the board's variable says"


def test_every_metric_of_the_services_is_shown():
    """A metric that no panel and no alert reads is one that nobody looks at."""
    read = {name for _, expression in watched.panel_queries() for name, _ in watched.selectors(expression)}
    read |= {name for rule in watched.rules() for name, _ in watched.selectors(rule["expr"])}
    known = registry()
    shown = {watched.family(name, known) for name in read}
    assert {name for name in known if name.startswith("lckv_")} <= shown
