"""`helm test` without a cluster: the services run here with the files that the chart renders, and the test pod's own commands talk to
them. What is replaced: addresses (loopback, free ports) and paths (a folder of the test)."""

import contextlib
import json
import os
import signal
import subprocess

import chart
import test_binary
import yaml

STOP_SECONDS = 60


class Service:
    """One service as its pod would run it."""

    def __init__(self, objects, component, folder, **addresses):
        self.log = (folder / f"{component}.log").open("w")
        path = test_binary.write_files(objects, component, folder)
        config = yaml.safe_load(path.read_text())
        config.update({"listen": "127.0.0.1:0", "metrics-listen": "127.0.0.1:0"}, **addresses)
        if "worker-service" in config and "worker-service" not in test_binary.flags(component):
            config["worker"] = config.pop("worker-service")  # until the binary finds workers by name
        path.write_text(yaml.safe_dump(config))
        container = objects.container(component)
        arguments = [a for a in container["args"] if not a.startswith("--config=")]
        environment = {e["name"]: test_binary.in_folder(e.get("value", "1"), folder) for e in container.get("env", [])}
        self.process = subprocess.Popen([test_binary.BINARY, *arguments, f"--config={path}"], env=environment, text=True,
                                        stdout=subprocess.PIPE, stderr=self.log)
        line = self.process.stdout.readline()  # printed when it serves
        assert line, f"{component} does not start:\n" + (folder / f"{component}.log").read_text()
        self.address = json.loads(line)["listen"]

    def stop(self):
        """Ends it as the kubelet would; the exit code."""
        self.process.send_signal(signal.SIGTERM)
        code = self.process.wait(STOP_SECONDS)
        self.log.close()
        return code


def run_step(container, server, turns, uid):
    """One container of the test pod, with its own arguments and variables; its standard output."""
    variables = {e["name"]: e.get("value", uid) for e in container["env"]}
    session = variables["SESSION"].replace("$(POD_UID)", uid)
    arguments = [a.replace("$(SESSION)", session) for a in container["args"] if not a.startswith("--server=")]
    arguments = [a.replace("/etc/lckv/test", str(turns)) for a in arguments]
    json_flag = ["--json"] if arguments[0] == "chat" else []
    result = subprocess.run([test_binary.BINARY, *arguments, f"--server={server}", *json_flag], text=True, check=False, timeout=60,
                            stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert result.returncode == 0, f"{container['name']}: {result.stderr}"
    return result.stdout


def test_the_defaults_hold_a_conversation(tmp_path):
    objects = chart.render("default")
    (pod,) = objects.kind("Pod")
    turns = tmp_path / "turns"
    turns.mkdir()
    for name, text in objects.find("ConfigMap", "chat-lckv-test")["data"].items():
        (turns / name).write_text(text)

    with contextlib.ExitStack() as stack:
        def start(component, **addresses):
            folder = tmp_path / component
            folder.mkdir()
            service = Service(objects, component, folder, **addresses)
            stack.callback(lambda: service.process.poll() is None and service.process.kill())
            return service
        cache = start("cache-node")
        worker = start("worker", **{"cache-node": cache.address})
        port = worker.address.rpartition(":")[2]
        gateway = start("gateway", **{"cache-node": cache.address, "worker-service": f"127.0.0.1:{port}"})

        steps = {c["name"]: run_step(c, gateway.address, turns, "0") for c in chart.containers(pod)}
        answers = {name: json.loads(steps[name].splitlines()[-1]) for name in ("turn-1", "turn-2")}
        assert answers["turn-1"]["done"]["version"] + 1 == answers["turn-2"]["done"]["version"]
        assert answers["turn-2"]["done"]["usage"]["cached_tokens"] > 0, "the second turn goes on with the first"
        # An end as in an upgrade: gateway, worker, and the store last; each by itself, in time, without an error.
        assert [s.stop() for s in (gateway, worker, cache)] == [0, 0, 0]
    assert os.listdir(tmp_path / "cache-node" / "var" / "lib" / "lckv" / "store")
