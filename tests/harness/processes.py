"""Programs that a test starts and ends: their logs, waiting for what they do."""

import random
import socket
import subprocess
import time

PATIENCE_SECONDS = 60  # for anything that a sound program does within a second or two
TAIL_LINES = 40
PORTS = (12000, 32768)  # Linux's own choice begins there


def free_port():
    """A TCP port of 127.0.0.1 that nobody had a moment ago, for a program that is to be found there again when it is restarted.

    Not one of those that the system gives to connections and to port 0: meanwhile somebody else would get it.
    """
    while True:
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", random.randrange(*PORTS)))
                return probe.getsockname()[1]
            except OSError:
                continue


def wait_until(what, condition, *processes, seconds=PATIENCE_SECONDS):
    """The condition's first true value. OSError, of a connection that nobody takes yet, counts as not true.

    AssertionError with the ends of the logs of `processes`: after `seconds`, and at once when one of them has ended, for
    then what they should do will not happen.
    """
    end = time.monotonic() + seconds
    while True:
        ended = [process.name for process in processes if process.popen.poll() is not None]
        late = time.monotonic() > end
        error = ""
        try:
            value = condition()
            if value:
                return value
        except OSError as problem:
            error = f" ({problem})"
        if ended or late:
            problem = f"{', '.join(ended)} ended" if ended else f"not within {seconds} s"
            lines = [f"waiting for {what}: {problem}{error}", *(process.tail() for process in processes)]
            raise AssertionError("\n".join(lines))
        time.sleep(0.1)


class Process:
    """A program and its log, FOLDER/NAME.log, which a later program of that name continues.

    As a context manager: killed where the block ends, if it still runs.
    """

    def __init__(self, folder, name, command, *, output=None, environment=None, cwd=None):
        """`output`: an open file for the standard output; else that goes into the log, as the errors do."""
        self.name, self.log = name, folder / f"{name}.log"
        with open(self.log, "ab") as log:
            self.popen = subprocess.Popen([str(word) for word in command], stdin=subprocess.DEVNULL, stdout=output or log,
                                          stderr=log, env=environment, cwd=cwd)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.kill()

    def wait_for_start(self, condition):
        """As wait_until; the process is killed if it fails."""
        try:
            return wait_until(f"{self.name} to start", condition, self)
        except BaseException:
            self.kill()
            raise

    def stop(self, seconds=PATIENCE_SECONDS):
        """Ends it as an operator does, with SIGTERM. AssertionError unless it ran, and ends in time with exit status 0."""
        assert self.popen.poll() is None, f"{self.name} had ended with {self.popen.returncode}\n{self.tail()}"
        self.popen.terminate()
        try:
            status = self.popen.wait(seconds)
        except subprocess.TimeoutExpired:
            self.kill()
            raise AssertionError(f"{self.name} runs {seconds} s after SIGTERM\n{self.tail()}") from None
        assert status == 0, f"{self.name} ended with {status}\n{self.tail()}"

    def kill(self):
        """Ends it with SIGKILL, as a machine that fails does; nothing happens if it has ended."""
        self.popen.kill()
        self.popen.wait()

    def tail(self):
        """The last lines of its log, under its name."""
        lines = self.log.read_text(errors="replace").splitlines()[-TAIL_LINES:]
        return "\n".join([f"--- {self.log.name}", *lines])
