"""A client of the gateway that passes a trace on."""

import grpc

from harness.processes import PATIENCE_SECONDS
from protocol import Protocol

UNSAMPLED = f"00-{'1' * 32}-{'1' * 16}-00"
COLD = 2  # of SessionInfo.State


class Client:
    def __init__(self, address):
        self.protocol = Protocol("lckv/v1/inference.proto")
        self.channel = grpc.insecure_channel(address)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.channel.close()

    def message(self, name):
        return self.protocol.message(f"lckv.v1.{name}")()

    def call(self, method, request, traceparent):
        call = self.protocol.call(self.channel, "lckv.v1.Inference", method)
        return call(request, metadata=[("traceparent", traceparent)] if traceparent else [], timeout=PATIENCE_SECONDS)

    def generate(self, session, tokens, max_tokens, traceparent=""):
        """One turn; its last frame's `done`."""
        request = self.message("GenerateRequest")
        request.session_id, request.create_session = session, True
        request.tokens.ids.extend(tokens)
        request.sampling.max_tokens = max_tokens
        request.sampling.ignore_eos = True
        return list(self.call("Generate", request, traceparent))[-1].done

    def is_cold(self, session):
        request = self.message("GetSessionRequest")
        request.session_id = session
        # Not sampled: it is not part of what is tested.
        return self.call("GetSession", request, UNSAMPLED).state == COLD
