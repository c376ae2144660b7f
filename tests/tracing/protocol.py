"""The project's .proto files at run time: protoc makes descriptors of them, the protobuf library makes classes."""

import os
import pathlib
import tempfile

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

from harness import ROOT
from harness.tools import Tool


def descriptors(*protos):
    """The FileDescriptorSet of proto/PROTO… and all that they import."""
    with tempfile.TemporaryDirectory() as folder:
        out = f"{folder}/descriptors"
        Tool(os.environ.get("LCKV_PROTOC", "protoc")).run(f"-I{ROOT}/proto", "--include_imports",
                                                          f"--descriptor_set_out={out}", *protos)
        return descriptor_pb2.FileDescriptorSet.FromString(pathlib.Path(out).read_bytes())


class Protocol:
    """Messages by their full names, and callables of a service's methods."""

    def __init__(self, *protos):
        self.pool = descriptor_pool.DescriptorPool()
        for file in descriptors(*protos).file:
            self.pool.AddSerializedFile(file.SerializeToString())

    def message(self, name):
        return message_factory.GetMessageClass(self.pool.FindMessageTypeByName(name))

    def call(self, channel, service, method):
        found = self.pool.FindServiceByName(service).methods_by_name[method]
        kind = channel.unary_stream if found.server_streaming else channel.unary_unary
        response = message_factory.GetMessageClass(found.output_type)
        return kind(f"/{service}/{method}", request_serializer=lambda request: request.SerializeToString(),
                    response_deserializer=response.FromString)
