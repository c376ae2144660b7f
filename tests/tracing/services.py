"""A cache node, a worker with random weights and a gateway as processes, and a client of theirs."""

import json
import os
import signal
import subprocess
import time
import urllib.request

import grpc

from protocol import ROOT, Protocol

BINARY = os.environ.get("LCKV_BINARY", f"{ROOT}/build/release/bin/lckv")
MODEL = f"{ROOT}/tests/data/models/bard-lckv-w2/config.json"
PATIENCE_SECONDS = 60


def wait_until(what, condition):
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        assert time.monotonic() < deadline, f"waited {PATIENCE_SECONDS} s for {what}"
        time.sleep(0.05)


def environment(variables):
    """Ours, without what the user's own tracing may have set."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("OTEL_")}
    return {**kept, **variables}


class Services:
    def __init__(self, folder, variables, idle_evict_seconds=3600):
        self.folder, self.variables = folder, variables
        self.idle_evict_seconds = idle_evict_seconds
        self.processes, self.ready = {}, {}
        self.protocol = Protocol("lckv/v1/inference.proto")

    def __enter__(self):
        try:
            self.start("cache-node", "--data", f"{self.folder}/data")
            cache_node = self.ready["cache-node"]["listen"]
            self.start("worker", "--random-weights", MODEL, "--cache-node", cache_node, "--threads", "1",
                       "--kv-memory", "64MiB", "--idle-evict-seconds", str(self.idle_evict_seconds))
            self.start("gateway", "--cache-node", cache_node, "--worker", self.ready["worker"]["listen"])
            wait_until("the worker", lambda: 'lckv_gateway_workers{state="ready"} 1' in self.metrics("gateway"))
            self.channel = grpc.insecure_channel(self.ready["gateway"]["listen"])
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        for process in self.processes.values():
            process.kill()
            process.wait()

    def start(self, name, *flags):
        with open(f"{self.folder}/{name}.log", "wb") as log:
            process = subprocess.Popen([BINARY, name, *flags, "--listen", "127.0.0.1:0"], stdout=subprocess.PIPE,
                                       stderr=log, env=environment(self.variables))
        self.processes[name] = process
        line = process.stdout.readline()
        assert line, f"{name} did not start: " + open(f"{self.folder}/{name}.log", encoding="utf-8").read()
        self.ready[name] = json.loads(line)

    def stop(self):
        """Ends the services in order, as an operator does. Their exit statuses."""
        statuses = {}
        for name in ("gateway", "worker", "cache-node"):
            self.processes[name].send_signal(signal.SIGTERM)
            statuses[name] = self.processes[name].wait(PATIENCE_SECONDS)
        return statuses

    def metrics(self, name):
        with urllib.request.urlopen(f"http://{self.ready[name]['metrics']}/metrics", timeout=10) as answer:
            return answer.read().decode()

    def span_counts(self, name):
        """lckv_trace_spans_total by outcome."""
        lines = [line for line in self.metrics(name).splitlines() if line.startswith("lckv_trace_spans_total{")]
        return {line.split('"')[1]: float(line.split()[-1]) for line in lines}

    def generate(self, session, tokens, max_tokens, traceparent=""):
        """One turn; its last frame."""
        request = self.protocol.message("lckv.v1.GenerateRequest")(session_id=session, create_session=True)
        request.tokens.ids.extend(tokens)
        request.sampling.max_tokens = max_tokens
        request.sampling.ignore_eos = True
        call = self.protocol.call(self.channel, "lckv.v1.Inference", "Generate")
        metadata = [("traceparent", traceparent)] if traceparent else []
        return list(call(request, metadata=metadata, timeout=PATIENCE_SECONDS))[-1].done

    def is_cold(self, session):
        request = self.protocol.message("lckv.v1.GetSessionRequest")(session_id=session)
        # Not sampled: it is not part of what is tested.
        info = self.protocol.call(self.channel, "lckv.v1.Inference", "GetSession")(
            request, metadata=[("traceparent", f"00-{'1' * 32}-{'1' * 16}-00")])
        return info.state == 2
