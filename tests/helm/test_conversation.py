"""Without a cluster: the services run here with the files that the chart renders. `helm test`'s own commands talk to them, and an upgrade
takes them away in the order that the chart's times make."""

import contextlib
import json
import os
import subprocess
import time

import chart
import services
from harness import BINARY
from harness.services import chat, finish_chat, start_chat

AWAY_SECONDS = 3  # the cache node, in an upgrade


def run_step(container, server, turns, uid):
    """One container of the test pod, with its own arguments and variables; its standard output."""
    variables = {e["name"]: e.get("value", uid) for e in container["env"]}
    session = variables["SESSION"].replace("$(POD_UID)", uid)
    arguments = [a.replace("$(SESSION)", session) for a in container["args"] if not a.startswith("--server=")]
    arguments = [a.replace("/etc/lckv/test", str(turns)) for a in arguments]
    json_flag = ["--json"] if arguments[0] == "chat" else []
    result = subprocess.run([BINARY, *arguments, f"--server={server}", *json_flag], text=True, check=False, timeout=60,
                            stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert result.returncode == 0, f"{container['name']}: {result.stderr}"
    return result.stdout


def starter(stack, objects, folder):
    """start(component, folder's name, **addresses): a service that does not outlive the test."""
    def start(component, name, **addresses):
        return stack.enter_context(services.start(objects, component, folder / name, **addresses))
    return start


def test_the_defaults_hold_a_conversation(tmp_path):
    objects = chart.render("default")
    (pod,) = objects.kind("Pod")
    turns = tmp_path / "turns"
    turns.mkdir()
    for name, text in objects.find("ConfigMap", "chat-lckv-test")["data"].items():
        (turns / name).write_text(text)

    with contextlib.ExitStack() as stack:
        start = starter(stack, objects, tmp_path)
        cache = start("cache-node", "cache-node")
        worker = start("worker", "worker", **{"cache-node": cache.listen})
        gateway = start("gateway", "gateway", **{"cache-node": cache.listen, "worker-service": worker.listen})

        steps = {c["name"]: run_step(c, gateway.listen, turns, "0") for c in chart.containers(pod)}
        answers = {name: json.loads(steps[name].splitlines()[-1]) for name in ("turn-1", "turn-2")}
        assert answers["turn-1"]["done"]["version"] + 1 == answers["turn-2"]["done"]["version"]
        assert answers["turn-2"]["done"]["usage"]["cached_tokens"] > 0, "the second turn goes on with the first"
        # An end as in an upgrade: gateway, worker, and the store last; each by itself, in time, without an error.
        for service in (gateway, worker, cache):
            service.stop()
    assert os.listdir(tmp_path / "cache-node" / "var" / "lib" / "lckv" / "store")


def test_an_upgrade_loses_no_session(tmp_path):
    """Cache node first, while a turn runs; then the worker that has the session; then the gateway, one more beside it."""
    objects = chart.render("default")
    session = ["upgrade", "--ignore-eos"]
    for name, tokens in (("long", range(1, 200)), ("short", (7, 8, 9))):
        (tmp_path / f"{name}.json").write_text(json.dumps({"tokens": list(tokens)}))
    long, short = (f"--tokens-json={tmp_path}/{name}.json" for name in ("long", "short"))

    with contextlib.ExitStack() as stack:
        start = starter(stack, objects, tmp_path)
        cache = start("cache-node", "cache-node")
        workers = [start("worker", f"worker-{i}", **{"cache-node": cache.listen}) for i in range(2)]
        peers = {"cache-node": cache.listen, "worker": [w.listen for w in workers]}
        gateway = start("gateway", "gateway-old", **peers)
        _, first = chat(gateway.listen, *session, long, "--max-tokens=8")

        cache.stop()
        running = start_chat(gateway.listen, *session, short, "--max-tokens=400")
        time.sleep(AWAY_SECONDS)
        assert running.poll() is None, "a turn was acknowledged while nothing could keep it"
        start("cache-node", "cache-node", listen=cache.listen)  # on the same claim
        _, second = finish_chat(running)
        assert (second["version"], second["worker"]) == (first["version"] + 1, first["worker"])
        assert second["usage"]["reencoded_tokens"] == 0

        (holder,) = [w for w in workers if f"-{w.popen.pid}#" in second["worker"]]
        holder.stop()
        _, third = chat(gateway.listen, *session, short, "--max-tokens=8")
        assert third["worker"] != second["worker"]
        assert (third["restore_source"], third["usage"]["reencoded_tokens"]) == ("cache_node", 0)

        replacement = start("gateway", "gateway-new", **peers)
        gateway.stop()
        _, fourth = chat(replacement.listen, *session, short, "--max-tokens=8")
        assert (fourth["version"], fourth["usage"]["reencoded_tokens"]) == (third["version"] + 1, 0)
