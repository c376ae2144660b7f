"""What the watching tests run: services whose metrics all move, and a Prometheus that reads them."""

import json
import urllib.parse

from harness import MODEL
from harness.metrics import get
from harness.processes import Process, free_port
from harness.services import Cluster
from harness.tools import fetched


def cluster(folder, workers, gateway_flags=()):
    """A cache node, workers with a KV pool of a few sessions, and a gateway."""
    return Cluster(
        folder,
        workers=workers,
        worker_flags=[
            "--model",
            MODEL,
            "--threads",
            "1",
            "--kv-memory",
            "4MiB",
            "--idle-evict-seconds",
            "2",
            "--vllm-metrics",
        ],
        gateway_flags=gateway_flags,
    )


def by_service(running):
    """(name as in the registry and in Prometheus's jobs, service)."""
    return [("worker" if name.startswith("worker") else name, service) for name, service in running.services.items()]


class Prometheus(Process):
    """A real one."""

    def __init__(self, folder, config):
        address = f"127.0.0.1:{free_port()}"
        self.url = f"http://{address}"
        path = folder / "prometheus.yml"
        path.write_text(config)
        super().__init__(
            folder,
            "prometheus",
            [
                fetched("prometheus") / "prometheus",
                f"--config.file={path}",
                f"--storage.tsdb.path={folder / 'tsdb'}",
                f"--web.listen-address={address}",
            ],
        )
        self.wait_for_start(lambda: get(self.url + "/-/ready"))

    def api(self, path, **parameters):
        query = "?" + urllib.parse.urlencode(parameters) if parameters else ""
        return json.loads(get(f"{self.url}/api/v1/{path}{query}"))["data"]

    def query(self, expression):
        """The samples of an instant query, as (labels, value)."""
        return [(s["metric"], float(s["value"][1])) for s in self.api("query", query=expression)["result"]]
