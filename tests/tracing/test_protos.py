"""Our trimmed copy of the OTLP files says what the official one says."""

from google.protobuf import descriptor_pb2
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2

from protocol import descriptors

PROTO = "opentelemetry/proto/collector/trace/v1/trace_service.proto"


def official_files():
    files = {}

    def add(descriptor):
        if descriptor.name not in files:
            for dependency in descriptor.dependencies:
                add(dependency)
            files[descriptor.name] = descriptor_pb2.FileDescriptorProto.FromString(descriptor.serialized_pb)

    add(trace_service_pb2.DESCRIPTOR)
    return files


def fields(message, prefix):
    """What is on the wire, by name: fields and values of enums, of nested messages too."""
    found = {}
    for field in message.field:
        found[f"{prefix}.{field.name}"] = (field.number, field.type, field.label, field.type_name,
                                           field.HasField("oneof_index"))
    for enum in message.enum_type:
        found.update({f"{prefix}.{enum.name}.{value.name}": value.number for value in enum.value})
    for nested in message.nested_type:
        found.update(fields(nested, f"{prefix}.{nested.name}"))
    return found


def wire(file):
    found = {"syntax": file.syntax, "package": file.package}
    for message in file.message_type:
        found.update(fields(message, message.name))
    for service in file.service:
        found.update({f"{service.name}.{m.name}": (m.input_type, m.output_type) for m in service.method})
    return found


def test_every_field_is_the_official_one():
    official = official_files()
    ours = descriptors(PROTO).file
    assert len(ours) == 4
    for file in ours:
        theirs = wire(official[file.name])
        for name, what in wire(file).items():
            assert theirs.get(name) == what, f"{file.name}: {name}"
