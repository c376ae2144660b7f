"""A gateway that finds its worker through --worker-service: started before it, and through its restart. (That names are
looked up again, and what follows when their addresses change: tests/services/gateway/worker_discovery_test.cc.)"""

import contextlib

from harness import BINARY, MODEL
from harness.processes import free_port, wait_until
from harness.services import ANY_PORTS, Service, TurnFailed, chat


def version_after_turn(gateway):
    """The version of the session after one turn; none while no worker is there."""
    with contextlib.suppress(TurnFailed):
        return chat(gateway, "s", "--prompt", "What news?", "--max-tokens", 5)[1]["version"]


def test_a_worker_is_found_through_its_service(tmp_path):
    address = f"127.0.0.1:{free_port()}"
    with Service(tmp_path, "cache-node", [BINARY, "cache-node", *ANY_PORTS]) as cache_node:
        worker = [BINARY, "worker", "--model", MODEL, "--cache-node", cache_node.listen, "--listen", address,
                  "--kv-memory", "16MiB", "--threads", "1"]
        # The resolver answers for addresses too: no machine need have a name for the test.
        with Service(tmp_path, "gateway", [BINARY, "gateway", "--cache-node", cache_node.listen, *ANY_PORTS,
                                           "--worker-service", address]) as gateway:
            assert version_after_turn(gateway.listen) is None
            for version in (1, 2):
                with Service(tmp_path, "worker", worker) as process:
                    found = wait_until("a turn", lambda: version_after_turn(gateway.listen), process, gateway, cache_node)
                    assert found == version
