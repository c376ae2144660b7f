"""Backup and restore of the cache node, with the commands of docs/operating.md."""

import json
import os
import re
import shutil
import subprocess

import containers
import stack

ROOT = containers.ROOT


def documented(kind):
    return re.search(rf"^```sh {kind}\n(.*?)^```", (ROOT / "docs" / "operating.md").read_text(), re.M | re.S)[1]


class Services:
    """Processes on this machine, started with the documented commands on free ports."""

    def __init__(self, folder):
        self.folder, self.processes, self.metrics = folder, {}, {}
        lines = documented("services").splitlines()
        self.commands = {line.split()[1]: line for line in lines}
        self.ports = {port: stack.free_port() for port in re.findall(r"127\.0\.0\.1:(\d+)", "".join(lines))}
        self.environment = {**os.environ, "DATA": str(folder / "data"), "MODEL": str(containers.MODEL),
                            "BACKUP": str(folder / "backup.tar"), "PATH": f"{containers.binary().parent}:{os.environ['PATH']}"}
        self.gateway = f"127.0.0.1:{self.ports['8080']}"

    def __enter__(self):
        for name in ("cache-node", "worker", "gateway"):
            self.start(name)
        metrics = f"http://127.0.0.1:{self.ports['9090']}/metrics"
        ready = 'lckv_gateway_workers{state="ready"} 1\n'
        stack.wait_for("the worker", lambda: ready in stack.get(metrics), 60)
        return self

    def __exit__(self, *_):
        for process in self.processes.values():
            process.kill()
            process.wait()
            process.stdout.close()

    def start(self, name):
        command = re.sub(r"127\.0\.0\.1:(\d+)", lambda port: f"127.0.0.1:{self.ports[port[1]]}", self.commands[name])
        command = command.replace("4GiB", "64MiB")
        with open(self.folder / f"{name}.log", "ab") as log:
            process = subprocess.Popen(["bash", "-c", f"exec {command}"], env=self.environment, stdout=subprocess.PIPE, stderr=log)
        self.processes[name] = process
        assert json.loads(process.stdout.readline())["service"]

    def stop(self, name):
        process = self.processes.pop(name)
        process.terminate()
        assert process.wait(timeout=60) == 0
        process.stdout.close()

    def session(self, session):
        return json.loads(containers.Tool(containers.binary()).output("sessions", "show", session, "--json", "--server", self.gateway))

    def all_kv_is_stored(self, session):
        found = self.session(session)
        return found["kv_tokens"] >= found["transcript_tokens"] - 1

    def run(self, kind):
        subprocess.run(["bash", "-euo", "pipefail", "-c", documented(kind)], env=self.environment, check=True)


def test_a_conversation_goes_on_from_the_backup(tmp_path):
    with Services(tmp_path) as services:
        containers.chat(services.gateway, "play", "Who's there?")
        # The turn's transcript is stored before its last frame, the last of its KV soon after (the last token has none).
        stack.wait_for("the KV", lambda: services.all_kv_is_stored("play"), 60)
        services.stop("cache-node")
        services.run("backup")
        services.start("cache-node")
        expected, done = containers.chat(services.gateway, "play", "What news from the court?")
        assert done["restore_source"] == "hot"

    shutil.rmtree(tmp_path / "data")
    with Services(tmp_path) as services:
        for name in ("gateway", "worker", "cache-node"):
            services.stop(name)
        shutil.rmtree(tmp_path / "data")
        services.run("restore")
        for name in ("cache-node", "worker", "gateway"):
            services.start(name)
        tokens, done = containers.chat(services.gateway, "play", "What news from the court?")
        assert tokens == expected, "the second turn is that of the undisturbed session"
        assert (done["restore_source"], done["usage"]["reencoded_tokens"]) == ("cache_node", 0), done


def test_a_second_cache_node_is_refused(tmp_path):
    with Services(tmp_path) as services:
        second = subprocess.run([containers.binary(), "cache-node", "--data", tmp_path / "data"], capture_output=True, text=True,
                                timeout=60, check=False)
        assert second.returncode == 1 and services.processes["cache-node"].poll() is None
