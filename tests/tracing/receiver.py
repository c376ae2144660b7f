"""Receivers of OTLP: a real one from the official protocol classes, and one that never answers."""

import concurrent.futures
import dataclasses
import socket
import threading

import grpc
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2, trace_service_pb2_grpc


@dataclasses.dataclass
class Span:
    """A span that was received, with its resource's service.name."""
    service: str
    name: str
    trace: str
    id: str
    parent: str
    kind: int
    start: int
    end: int
    failed: bool
    attributes: dict


def value_of(value):
    kind = value.WhichOneof("value")
    if kind == "array_value":
        return [value_of(item) for item in value.array_value.values]
    return getattr(value, kind)


def attributes_of(pairs):
    attributes = {pair.key: value_of(pair.value) for pair in pairs}
    assert len(attributes) == len(pairs), f"an attribute twice: {[pair.key for pair in pairs]}"
    return attributes


class Receiver(trace_service_pb2_grpc.TraceServiceServicer):
    """Keeps what it gets. Ids of illegal length are errors, as with any collector."""

    def __init__(self):
        self.lock = threading.Lock()
        self.received = []
        self.raw = []
        self.problems = []
        self.server = grpc.server(concurrent.futures.ThreadPoolExecutor(4))
        trace_service_pb2_grpc.add_TraceServiceServicer_to_server(self, self.server)
        self.endpoint = f"http://127.0.0.1:{self.server.add_insecure_port('127.0.0.1:0')}"

    def __enter__(self):
        self.server.start()
        return self

    def __exit__(self, *_):
        self.server.stop(0).wait()

    def Export(self, request, context):
        with self.lock:
            self.raw.append(request.SerializeToString())
            for resource in request.resource_spans:
                service = attributes_of(resource.resource.attributes).get("service.name", "")
                for span in (span for scope in resource.scope_spans for span in scope.spans):
                    self.take(service, span)
        return trace_service_pb2.ExportTraceServiceResponse()

    def take(self, service, span):
        lengths = (len(span.trace_id), len(span.span_id), len(span.parent_span_id))
        if lengths not in ((16, 8, 8), (16, 8, 0)) or not any(span.trace_id) or not any(span.span_id):
            self.problems.append(f"{service} {span.name}: ids of {lengths} bytes")
        self.received.append(Span(service, span.name, span.trace_id.hex(), span.span_id.hex(),
                                  span.parent_span_id.hex(), span.kind, span.start_time_unix_nano,
                                  span.end_time_unix_nano, span.status.code == 2, attributes_of(span.attributes)))

    def spans(self):
        with self.lock:
            return list(self.received)


class Hole:
    """Takes connections and says nothing."""

    def __enter__(self):
        self.socket = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.endpoint = f"http://127.0.0.1:{self.socket.getsockname()[1]}"
        return self

    def __exit__(self, *_):
        self.socket.close()
