"""Backup and restore of the cache node, with the commands of docs/operating.md."""

import json
import os
import re
import shutil

from harness import BINARY, MODEL, ROOT
from harness.processes import free_port, wait_until
from harness.services import Service, environment, ready_workers, say
from harness.tools import Tool


def documented(kind):
    return re.search(rf"^```sh {kind}\n(.*?)^```", (ROOT / "docs" / "operating.md").read_text(), re.M | re.S)[1]


class Services:
    """Processes on this machine, started with the documented commands on free ports."""

    ORDER = ("cache-node", "worker", "gateway")

    def __init__(self, folder):
        self.folder, self.running = folder, {}
        lines = documented("services").splitlines()
        self.commands = {line.split()[1]: line for line in lines}
        self.ports = {port: free_port() for port in re.findall(r"127\.0\.0\.1:(\d+)", "".join(lines))}
        self.environment = environment({"DATA": str(folder / "data"), "MODEL": str(MODEL),
                                        "BACKUP": str(folder / "backup.tar"), "PATH": f"{BINARY.parent}:{os.environ['PATH']}"})
        self.gateway = f"127.0.0.1:{self.ports['8080']}"

    def __enter__(self):
        try:
            for name in self.ORDER:
                self.start(name)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        for service in self.running.values():
            service.kill()

    def start(self, name):
        """Starts a service; the gateway is waited for until it sees the worker."""
        command = re.sub(r"127\.0\.0\.1:(\d+)", lambda port: f"127.0.0.1:{self.ports[port[1]]}", self.commands[name])
        command = command.replace("4GiB", "64MiB")
        self.running[name] = service = Service(self.folder, name, ["bash", "-c", f"exec {command}"], self.environment)
        if name == "gateway":
            wait_until("the worker", lambda: ready_workers(service) == 1, *self.running.values())

    def all_kv_is_stored(self, session):
        found = json.loads(Tool(BINARY).output("sessions", "show", session, "--json", "--server", self.gateway))
        return found["kv_tokens"] >= found["transcript_tokens"] - 1

    def run(self, kind):
        Tool("bash", environment=self.environment).run("-euo", "pipefail", "-c", documented(kind))


def test_a_conversation_goes_on_from_the_backup(tmp_path):
    with Services(tmp_path) as services:
        say(services.gateway, "play", "Who's there?")
        # The turn's transcript is stored before its last frame, the last of its KV soon after (the last token has none).
        wait_until("the KV", lambda: services.all_kv_is_stored("play"), *services.running.values())
        services.running["cache-node"].stop()
        services.run("backup")
        services.start("cache-node")
        expected, done = say(services.gateway, "play", "What news from the court?")
        assert done["restore_source"] == "hot"

    shutil.rmtree(tmp_path / "data")
    with Services(tmp_path) as services:
        for name in reversed(services.ORDER):
            services.running[name].stop()
        shutil.rmtree(tmp_path / "data")
        services.run("restore")
        for name in services.ORDER:
            services.start(name)
        tokens, done = say(services.gateway, "play", "What news from the court?")
        assert tokens == expected, "the second turn is that of the undisturbed session"
        assert (done["restore_source"], done["usage"]["reencoded_tokens"]) == ("cache_node", 0), done


def test_a_second_cache_node_is_refused(tmp_path):
    with Services(tmp_path) as services:
        second = Tool(BINARY).run("cache-node", "--data", tmp_path / "data", "--listen", "127.0.0.1:0", "--metrics-listen", "",
                                  check=False)
        assert second.returncode == 1 and "LOCK" in second.stderr, second.stderr
        assert services.running["cache-node"].popen.poll() is None
