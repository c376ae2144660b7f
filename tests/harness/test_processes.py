"""The harness says what went wrong, and leaves nothing behind."""

import pytest

from harness import BINARY
from harness.processes import PORTS, Process, free_port, wait_until
from harness.services import Service


def test_waiting_ends_with_the_process(tmp_path):
    process = Process(tmp_path, "short", ["bash", "-c", "echo the reason >&2; exit 3"])
    with pytest.raises(AssertionError, match=r"for ever: short ended\n--- short.log\nthe reason"):
        wait_until("ever", lambda: False, process, seconds=3600)


def test_waiting_ends_in_time_and_names_the_last_error():
    def nobody():
        raise ConnectionRefusedError("nobody there")

    with pytest.raises(AssertionError, match=r"for a door: not within 0 s \(nobody there\)"):
        wait_until("a door", nobody, seconds=0)


def test_a_service_that_does_not_start_says_why(tmp_path):
    with pytest.raises(AssertionError, match="--cache-node: is required"):
        Service(tmp_path, "worker", [BINARY, "worker"])


@pytest.mark.parametrize("command, seconds, problem", [
    ("trap 'exit 7' TERM; echo; while :; do sleep 0.05; done", 60, "ended with 7"),
    ("trap '' TERM; echo; while :; do sleep 0.05; done", 1, "1 s after SIGTERM"),
    ("echo", 60, "had ended with 0"),
])
def test_a_stop_that_fails_is_an_error(tmp_path, command, seconds, problem):
    with Process(tmp_path, "rough", ["bash", "-c", command]) as process:
        wait_until("the trap", process.log.read_text)
        if problem.startswith("had"):
            process.popen.wait(60)
        with pytest.raises(AssertionError, match=problem):
            process.stop(seconds)
    assert process.popen.returncode is not None


def test_a_free_port_is_not_given_to_connections():
    assert all(PORTS[0] <= free_port() < 32768 for _ in range(20))
