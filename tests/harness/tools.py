"""Programs that answer and end by themselves."""

import functools
import os
import pathlib
import subprocess

from harness import ROOT


class Tool:
    """A program with its first arguments. A run that lasts longer than `seconds` is killed and fails."""

    def __init__(self, *command, environment=None, seconds=60):
        """`environment`: on top of ours."""
        self.command, self.seconds = [str(word) for word in command], seconds
        self.environment = {**os.environ, **(environment or {})}

    def run(self, *arguments, check=True, text=None):
        """The CompletedProcess; AssertionError with all that it said if it fails. `text`: its standard input."""
        result = subprocess.run(self.command + [str(word) for word in arguments], env=self.environment, input=text or "",
                                text=True, capture_output=True, timeout=self.seconds, check=False)
        if check and result.returncode != 0:
            raise AssertionError(f"{result.args}: exit status {result.returncode}\n{result.stdout}{result.stderr}")
        return result

    def output(self, *arguments):
        """What it prints, without the last newline."""
        return self.run(*arguments).stdout.strip()


@functools.cache
def fetched(name):
    """The folder of a tool's executables, fetched by scripts/get-tools.sh if it is not there."""
    return pathlib.Path(Tool(ROOT / "scripts" / "get-tools.sh", seconds=600).output(name))


def promtool(*arguments, text=None, check=True):
    """As Tool.run."""
    return Tool(fetched("prometheus") / "promtool").run(*arguments, check=check, text=text)
