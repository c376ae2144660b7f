"""A gateway that finds its worker by name: started before it, without a flag that names it, and through its restart."""

import contextlib
import json
import os
import pathlib
import select
import signal
import socket
import subprocess
import time

BINARY = os.environ["LCKV_BINARY"]
MODEL = pathlib.Path(__file__).resolve().parents[1] / "data" / "models" / "bard-lckv-w2"
PATIENCE = 60


@contextlib.contextmanager
def service(*arguments):
    """A running service: its process and the address it listens on."""
    with subprocess.Popen([BINARY, *arguments], stdout=subprocess.PIPE, text=True) as process:
        try:
            assert select.select([process.stdout], [], [], PATIENCE)[0], f"no ready line of {arguments}"
            yield process, json.loads(process.stdout.readline())["listen"]
        finally:
            process.kill()


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def chat(gateway):
    """The version of the session after one turn; none while no worker is there."""
    result = subprocess.run([BINARY, "chat", "--server", gateway, "--session", "s", "--prompt", "What news?",
                             "--max-tokens", "5", "--json"], capture_output=True, text=True, timeout=PATIENCE,
                            check=False)
    return json.loads(result.stdout.splitlines()[-1])["done"]["version"] if result.returncode == 0 else None


def eventually_chats(gateway):
    end = time.monotonic() + PATIENCE
    while (version := chat(gateway)) is None:
        assert time.monotonic() < end
        time.sleep(0.2)
    return version


def test_a_worker_is_found_by_name():
    port = free_port()
    with service("cache-node") as (_, cache):
        worker = ["worker", "--model", str(MODEL), "--cache-node", cache, "--listen", f"127.0.0.1:{port}",
                  "--kv-memory", "16MiB", "--threads", "1"]
        # The resolver answers for addresses too: no machine need have a name for the test.
        with service("gateway", "--cache-node", cache, "--listen", "127.0.0.1:0", "--worker-service",
                     f"127.0.0.1:{port}", "--worker-resolve-interval", "200ms") as (_, gateway):
            assert chat(gateway) is None
            with service(*worker) as (process, _):
                assert eventually_chats(gateway) == 1
                process.send_signal(signal.SIGKILL)
            with service(*worker):
                assert eventually_chats(gateway) == 2
