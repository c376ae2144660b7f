"""Real services on this machine, and what the tests ask of them."""

import functools
import json
import os
import pathlib
import socket
import subprocess
import time
import urllib.parse
import urllib.request

ROOT = pathlib.Path(__file__).resolve().parents[2]
BINARY = os.environ.get("LCKV_BINARY", str(ROOT / "build/release/bin/lckv"))
MODEL = ROOT / "tests/data/models/bard-lckv-w2"


@functools.cache
def tool(name):
    """The folder of a tool's executables, fetched if it is not there."""
    found = subprocess.run([ROOT / "scripts/get-tools.sh", name], stdout=subprocess.PIPE, text=True, check=True)
    return pathlib.Path(found.stdout.strip())


@functools.cache
def registry(service=None):
    """The descriptors that `lckv metrics` prints, by name; those of one service only."""
    lines = subprocess.run([BINARY, "metrics"], stdout=subprocess.PIPE, text=True, check=True).stdout.splitlines()
    metrics = [json.loads(line) for line in lines]
    return {m["name"]: m for m in metrics if service is None or m["service"] in (service, "all")}


def get(url, accept="*/*"):
    """The body of a GET."""
    with urllib.request.urlopen(urllib.request.Request(url, headers={"Accept": accept}), timeout=10) as answer:
        return answer.read().decode()


def wait_for(what, condition, seconds=30):
    """The condition's first true value; fails after `seconds`."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        value = condition()
        if value:
            return value
        time.sleep(0.1)
    raise AssertionError(f"not within {seconds} s: {what}")


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Process:
    """A program with a log file; ended with the test."""

    def __init__(self, folder, name, line, stdout=None, cwd=None):
        self.log = folder / f"{name}.log"
        with open(self.log, "ab") as log:
            self.popen = subprocess.Popen(
                [str(part) for part in line], stdout=stdout or log, stderr=log, text=True, cwd=cwd
            )

    def stop(self):
        if self.popen.poll() is None:
            self.popen.terminate()
            try:
                self.popen.wait(30)
            except subprocess.TimeoutExpired:
                self.popen.kill()
                self.popen.wait()
        return self.popen.returncode


class Service(Process):
    """A service of lckv; `listen` and `metrics` are its addresses once it is ready. `former`: it had this one's."""

    def __init__(self, folder, name, *flags, former=None):
        listen, metrics = (former.listen, former.metrics) if former else ("127.0.0.1:0", "127.0.0.1:0")
        line = [BINARY, *flags, "--listen", listen, "--metrics-listen", metrics]
        super().__init__(folder, name, line, subprocess.PIPE)
        ready = self.popen.stdout.readline()
        assert ready, f"{name} did not start:\n{self.log.read_text()}"
        addresses = json.loads(ready)
        self.listen, self.metrics = addresses["listen"], addresses["metrics"]


class Stack:
    """A cache node, workers with a KV pool of a few sessions, and a gateway."""

    def __init__(self, folder, workers):
        self.folder = folder
        self.cache_node = Service(folder, "cache-node", "cache-node", "--data", folder / "cache")
        self.workers = [self.start_worker(f"worker-{i}") for i in range(1, workers + 1)]
        flags = [part for worker in self.workers for part in ("--worker", worker.listen)]
        self.gateway = Service(
            folder,
            "gateway",
            "gateway",
            "--cache-node",
            self.cache_node.listen,
            *flags,
            "--suspect-after",
            "1s",
            "--stall-timeout",
            "1s",
        )
        wait_for("workers ready", lambda: self.workers_ready() == workers)

    def start_worker(self, name, former=None):
        return Service(
            self.folder,
            name,
            "worker",
            "--worker-id",
            name,
            "--model",
            MODEL,
            "--threads",
            "1",
            "--cache-node",
            self.cache_node.listen,
            "--kv-memory",
            "4MiB",
            "--idle-evict-seconds",
            "2",
            "--vllm-metrics",
            former=former,
        )

    def services(self):
        """(service, process)."""
        return [("gateway", self.gateway), ("cache-node", self.cache_node)] + [("worker", w) for w in self.workers]

    def workers_ready(self):
        text = get(f"http://{self.gateway.metrics}/metrics")
        return int(text.split('lckv_gateway_workers{state="ready"} ')[1].split("\n")[0])

    def chat(self, session, tokens=24, prompt="Who art thou, and whence comest thou?", check=True):
        """One turn; the final frame."""
        line = [
            BINARY,
            "chat",
            "--server",
            self.gateway.listen,
            "--session",
            session,
            "--prompt",
            prompt,
            "--json",
            "--max-tokens",
            str(tokens),
            "--ignore-eos",
        ]
        done = subprocess.run(line, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=60, check=False)
        if done.returncode != 0:
            assert not check, done.stderr
            return None
        return json.loads(done.stdout.splitlines()[-1])

    def stop(self):
        for _, process in self.services():
            process.stop()


class Prometheus(Process):
    """A real one, which scrapes every second."""

    def __init__(self, folder, config):
        port = free_port()
        self.url = f"http://127.0.0.1:{port}"
        path = folder / "prometheus.yml"
        path.write_text(config)
        super().__init__(
            folder,
            "prometheus",
            [
                tool("prometheus") / "prometheus",
                f"--config.file={path}",
                f"--storage.tsdb.path={folder / 'tsdb'}",
                f"--web.listen-address=127.0.0.1:{port}",
            ],
        )
        wait_for("prometheus", self.ready)

    def ready(self):
        try:
            return get(self.url + "/-/ready")
        except OSError:
            return None

    def api(self, path, **parameters):
        query = "?" + urllib.parse.urlencode(parameters) if parameters else ""
        return json.loads(get(f"{self.url}/api/v1/{path}{query}"))["data"]

    def query(self, expression):
        """The samples of an instant query, as (labels, value)."""
        return [(s["metric"], float(s["value"][1])) for s in self.api("query", query=expression)["result"]]
