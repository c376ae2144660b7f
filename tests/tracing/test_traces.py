"""The spans of whole conversations: three services as processes, and receivers that work, hang or are not there."""

import socket
import subprocess
import time

import pytest

from client import Client
from harness import BINARY, MODEL
from harness.metrics import samples
from harness.processes import wait_until
from harness.services import Cluster, environment
from receiver import Hole, Receiver

TRACE = "0af7651916cd43dd8448eb211c80319c"
CLIENT_SPANS = ["b7ad6b7169203331", "b7ad6b7169203332"]
SESSION = "alice-and-bob"
INPUT = list(range(100, 140))
REPLY_TOKENS = 8
GATEWAY, WORKER, CACHE = "lckv-gateway", "lckv-worker", "lckv-cache-node"
TURN, ATTEMPT = "lckv.v1.Inference/Generate", "lckv.v1.Worker/Generate"
INTERNAL, SERVER, CLIENT = 1, 2, 3

# (service, name, kind): the parents that such a span may have.
PARENTS = {
    (GATEWAY, TURN, SERVER): {"client"},
    (GATEWAY, "admission", INTERNAL): {TURN},
    (GATEWAY, "route", INTERNAL): {TURN},
    (GATEWAY, ATTEMPT, CLIENT): {TURN},
    (WORKER, ATTEMPT, SERVER): {ATTEMPT},
    (WORKER, "acquire", INTERNAL): {ATTEMPT},
    (WORKER, "restore", INTERNAL): {ATTEMPT},
    (WORKER, "encode", INTERNAL): {ATTEMPT},
    (WORKER, "decode", INTERNAL): {ATTEMPT},
    (WORKER, "commit", INTERNAL): {ATTEMPT},
    (WORKER, "push", INTERNAL): {ATTEMPT},
    (CACHE, "lckv.v1.Cache/Acquire", SERVER): {"acquire"},
    (CACHE, "lckv.v1.Cache/Release", SERVER): {"restore", "acquire", "push", ATTEMPT},
    (CACHE, "lckv.v1.Cache/ReadPages", SERVER): {"restore"},
    (CACHE, "lckv.v1.Cache/Reserve", SERVER): {"push"},
    (CACHE, "lckv.v1.Cache/WritePages", SERVER): {"push"},
    (CACHE, "lckv.v1.Cache/Commit", SERVER): {"commit", "push"},
}


def traceparent(turn):
    return f"00-{TRACE}-{CLIENT_SPANS[turn]}-01"


def below(spans, root):
    """The spans under the span `root`, by name."""
    found, ids = [], {root}
    while grown := [span for span in spans if span.parent in ids and span not in found]:
        found += grown
        ids |= {span.id for span in grown}
    names = {}
    for span in found:
        names.setdefault((span.service, span.name), []).append(span)
    return names


def cluster(folder, variables, idle_evict_seconds=3600):
    flags = ["--random-weights", MODEL / "config.json", "--threads", "1", "--kv-memory", "64MiB", "--idle-evict-seconds",
             idle_evict_seconds]
    return Cluster(folder, worker_flags=flags, variables=variables)


@pytest.fixture(scope="module")
def conversation(tmp_path_factory):
    """Two turns of one session, which leaves the worker in between: (receiver, their results)."""
    folder = tmp_path_factory.mktemp("conversation")
    with Receiver() as receiver:
        variables = {"OTEL_EXPORTER_OTLP_ENDPOINT": receiver.endpoint, "OTEL_BSP_SCHEDULE_DELAY": "100"}
        with cluster(folder, variables, idle_evict_seconds=0.3) as running, Client(running["gateway"].listen) as client:
            results = [client.generate(SESSION, INPUT, REPLY_TOKENS, traceparent(0))]
            wait_until("the session to leave its worker", lambda: client.is_cold(SESSION), *running.services.values())
            results.append(client.generate(SESSION, INPUT, REPLY_TOKENS, traceparent(1)))
            running.stop()
        yield receiver, results


def test_one_trace_with_legal_ids_and_known_parents(conversation):
    receiver, _ = conversation
    spans = receiver.spans()
    assert receiver.problems == []
    assert {span.trace for span in spans} == {TRACE}
    by_id = {span.id: span for span in spans}
    assert len(by_id) == len(spans), "a span id twice"
    for span in spans:
        parent = by_id.get(span.parent)
        name = "client" if span.parent in CLIENT_SPANS else parent.name if parent else None
        assert name in PARENTS[(span.service, span.name, span.kind)], f"{span} below {parent}"
        assert span.start <= span.end
        assert parent is None or parent.start <= span.start
        assert not span.failed, span
    assert {(span.service, span.name, span.kind) for span in spans} == set(PARENTS), "every kind of span was seen"


def test_what_the_restored_turn_says(conversation):
    receiver, results = conversation
    assert results[1].restore_source == 2, "pages came from the cache node"
    spans = below(receiver.spans(), CLIENT_SPANS[1])

    def the(service, name):
        found = spans[(service, name)]
        assert len(found) == 1, f"{name}: {len(found)}"
        return found[0].attributes

    transcript = len(INPUT) + REPLY_TOKENS
    for attributes in (the(GATEWAY, TURN), the(WORKER, ATTEMPT)):
        assert attributes["gen_ai.usage.input_tokens"] == len(INPUT)
        assert attributes["gen_ai.usage.output_tokens"] == REPLY_TOKENS
        assert attributes["gen_ai.response.finish_reasons"] == ["length"]
        assert attributes["rpc.system"] == "grpc" and attributes["rpc.grpc.status_code"] == 0
    assert the(WORKER, ATTEMPT)["lckv.restore.source"] == "cache_node"
    assert the(GATEWAY, "route")["lckv.route.reason"] == "fewest_turns"
    assert the(WORKER, "acquire")["lckv.session.hot"] is False
    restore = the(WORKER, "restore")
    assert restore["lckv.restore.outcome"] == "complete"
    assert restore["lckv.transcript_tokens"] == transcript
    assert restore["lckv.restore.tokens"] == transcript - 1, "the last generated token has no KV yet"
    assert restore["lckv.restore.bytes"] == results[1].usage.restored_bytes > 0
    assert the(CACHE, "lckv.v1.Cache/ReadPages")["lckv.transfer.bytes"] == restore["lckv.restore.bytes"]
    encode = the(WORKER, "encode")
    assert encode["gen_ai.usage.input_tokens"] == len(INPUT)
    assert encode["lckv.encode.passes"] == 9 and encode["lckv.encode.residual"] >= 0
    assert the(WORKER, "decode")["gen_ai.usage.output_tokens"] == REPLY_TOKENS
    commit = the(WORKER, "commit")
    assert commit["lckv.session.version"] == 2 and commit["lckv.durable"] is True
    assert commit["lckv.transcript_tokens"] == 2 * transcript


def test_a_hot_turn_restores_nothing(conversation):
    receiver, results = conversation
    first = below(receiver.spans(), CLIENT_SPANS[0])
    assert first[(WORKER, ATTEMPT)][0].attributes["lckv.restore.source"] == "new"
    assert (CACHE, "lckv.v1.Cache/ReadPages") not in first
    assert sum(span.attributes["lckv.push.bytes"] for span in first[(WORKER, "push")]) > 0
    assert results[0].version == 1


def test_no_names_of_clients(conversation):
    receiver, _ = conversation
    assert not any(SESSION.encode() in raw or b"default" in raw for raw in receiver.raw)


def closed_endpoint():
    with socket.create_server(("127.0.0.1", 0)) as server:
        return f"http://127.0.0.1:{server.getsockname()[1]}"


@pytest.mark.parametrize("kind", ["absent", "hanging"])
def test_a_receiver_that_does_not_answer_disturbs_nobody(tmp_path, kind):
    with Hole() as hole:
        variables = {"OTEL_EXPORTER_OTLP_ENDPOINT": hole.endpoint if kind == "hanging" else closed_endpoint(),
                     "OTEL_EXPORTER_OTLP_TIMEOUT": "600000", "OTEL_BSP_SCHEDULE_DELAY": "1",
                     "OTEL_BSP_MAX_QUEUE_SIZE": "4", "OTEL_BSP_MAX_EXPORT_BATCH_SIZE": "1"}
        with cluster(tmp_path, variables) as running, Client(running["gateway"].listen) as client:
            seconds = []
            for turn in range(8):
                began = time.monotonic()
                result = client.generate(f"s{turn}", INPUT, REPLY_TOKENS)
                seconds.append(time.monotonic() - began)
                assert result.usage.generated_tokens == REPLY_TOKENS
            # A call that waited for the receiver would have lasted until the client's own deadline.
            assert max(seconds) < 30, seconds
            for name, service in running.services.items():
                counts = {labels["outcome"]: value for labels, value in samples(service.metrics, "lckv_trace_spans_total")}
                assert counts["exported"] == 0 and counts["dropped"] > 0, f"{name}: {counts}"
            began = time.monotonic()
            running.stop()
            assert time.monotonic() - began < 45, "each flush is bounded"


@pytest.mark.parametrize("more", [[], ["--check-config"]], ids=["at start", "by --check-config"])
@pytest.mark.parametrize("service", ["cache-node", "worker", "gateway"])
def test_a_wrong_endpoint_is_refused(service, more):
    flags = {"cache-node": [], "worker": ["--random-weights", MODEL / "config.json", "--cache-node", "127.0.0.1:1"],
             "gateway": ["--cache-node", "127.0.0.1:1", "--worker", "127.0.0.1:1"]}[service]
    result = subprocess.run([BINARY, service, *flags, *more], capture_output=True, text=True, timeout=60, check=False,
                            env=environment({"OTEL_EXPORTER_OTLP_ENDPOINT": "collector:4317"}))
    assert result.returncode == 1
    assert result.stderr == (f"lckv {service}: environment: OTEL_EXPORTER_OTLP_ENDPOINT: \"collector:4317\": "
                             "want http://host:port or https://host:port\n")
