"""The services of lckv as processes of this machine, and turns of a conversation with them."""

import json
import os
import re
import subprocess

from harness import BINARY, ROOT, metrics
from harness.processes import PATIENCE_SECONDS, Process, free_port, wait_until

ANY_PORTS = ("--listen", "127.0.0.1:0", "--metrics-listen", "127.0.0.1:0")


def environment(variables=None):
    """Ours and `variables`, without what the user's own may tell the services: LCKV_… is configuration, OTEL_… tracing."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("LCKV_", "OTEL_"))}
    return {**kept, **(variables or {})}


def worker_handover_seconds():
    """What Worker::grace adds to --drain-grace."""
    code = (ROOT / "services" / "worker" / "worker.cc").read_text()
    handover = int(re.search(r"kHandoverTime = absl::Seconds\((\d+)\)", code)[1])
    return handover + int(re.search(r"drain_grace \+ kHandoverTime \+ absl::Seconds\((\d+)\)", code)[1])


class Service(Process):
    """A service that serves: `listen` and `metrics` are the addresses in its ready line, `metrics` empty if it has none."""

    def __init__(self, folder, name, command, variables=None):
        """`command`: all of it, of `lckv` or of a shell that becomes it. `variables`: the whole environment."""
        ready = folder / f"{name}.ready"
        with open(ready, "wb") as output:
            super().__init__(folder, name, command, output=output, environment=environment() if variables is None else variables)

        def ready_line():
            text = ready.read_text()
            return json.loads(text) if text.endswith("\n") else None

        addresses = self.wait_for_start(ready_line)
        self.listen, self.metrics = addresses["listen"], addresses.get("metrics", "")


def ready_workers(gateway):
    """How many the gateway, a Service, sees."""
    found = metrics.samples(gateway.metrics, "lckv_gateway_workers")
    return sum(int(value) for labels, value in found if labels["state"] == "ready")


class Cluster:
    """A cache node, workers, and a gateway that knows them; `services` by the names cache-node, worker-1…, gateway.

    A context manager: they serve, the workers are ready, and what still runs at the block's end is killed.
    """

    def __init__(self, folder, *, workers=1, worker_flags=(), gateway_flags=(), variables=None):
        """`worker_flags`: what a worker cannot do without, its model, among them. `variables`: on top of our environment."""
        self.folder, self.services, self.variables = folder, {}, environment(variables)
        self.worker_names = [f"worker-{number}" for number in range(1, workers + 1)]
        self.worker_flags, self.gateway_flags = worker_flags, gateway_flags

    def __enter__(self):
        try:
            for name in ("cache-node", *self.worker_names, "gateway"):
                self.start(name)
            self.wait_for_workers(len(self.worker_names))
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        for service in self.services.values():
            service.kill()

    def __getitem__(self, name):
        return self.services[name]

    def flags(self, name):
        if name == "cache-node":
            return ["cache-node", "--data", self.folder / "cache"]
        cache_node = ["--cache-node", self["cache-node"].listen]
        if name == "gateway":
            workers = [word for worker in self.worker_names for word in ("--worker", self[worker].listen)]
            return ["gateway", *cache_node, *workers, *self.gateway_flags]
        return ["worker", "--worker-id", name, *cache_node, *self.worker_flags]

    def start(self, name):
        """Starts a service; one that was started before, and has ended, at its former addresses."""
        if former := self.services.get(name):
            addresses = former.listen, former.metrics
        else:
            addresses = f"127.0.0.1:{free_port()}", f"127.0.0.1:{free_port()}"
        ports = ("--listen", addresses[0], "--metrics-listen", addresses[1])
        self.services[name] = Service(self.folder, name, [BINARY, *self.flags(name), *ports], self.variables)

    def stop(self):
        """Ends what serves in the order that an operator takes; AssertionError unless each exit status is 0."""
        for name in ("gateway", *self.worker_names, "cache-node"):
            self[name].stop()

    def wait_for_workers(self, count):
        wait_until(f"{count} ready workers", lambda: ready_workers(self["gateway"]) == count, self["gateway"])


class TurnFailed(AssertionError):
    """What `lckv chat` said."""


def start_chat(server, session, *flags):
    """A turn in progress, for finish_chat. `flags`: of `lckv chat`, the input among them."""
    command = [BINARY, "chat", "--json", "--server", server, "--session", session, *flags]
    return subprocess.Popen([str(word) for word in command], env=environment(), stdin=subprocess.DEVNULL,
                            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def finish_chat(process, seconds=PATIENCE_SECONDS):
    """The turn's token ids and its last frame's `done`; TurnFailed when it fails or takes longer."""
    try:
        output, errors = process.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()
        raise TurnFailed(f"no end of the turn within {seconds} s") from None
    if process.returncode != 0:
        raise TurnFailed(errors)
    frames = [json.loads(line) for line in output.splitlines()]
    return [token for frame in frames for token in frame.get("token_ids", [])], frames[-1]["done"]


def chat(server, session, *flags):
    """One turn, as finish_chat gives it."""
    return finish_chat(start_chat(server, session, *flags))


def say(server, session, prompt, tokens=24):
    """One turn of a person who types `prompt`, sampled with a fixed seed."""
    return chat(server, session, "--prompt", prompt, "--seed", 1, "--temperature", 0.8, "--max-tokens", tokens)
