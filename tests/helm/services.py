"""The services as processes of this machine, with the files that the chart renders for them. What is replaced: addresses (loopback,
free ports) and paths (a folder of the test)."""

import json
import signal
import subprocess

import test_binary
import yaml

STOP_SECONDS = 60


class Service:
    """One service as its pod would run it."""

    def __init__(self, objects, component, folder, **addresses):
        """Returns when it serves. `addresses`: keys of its configuration to replace; a folder that was used before keeps its data."""
        folder.mkdir(exist_ok=True)
        self.log = (folder / f"{component}.log").open("a")
        path = test_binary.write_files(objects, component, folder)
        config = yaml.safe_load(path.read_text())
        config.update({"listen": "127.0.0.1:0", "metrics-listen": "127.0.0.1:0", **addresses})
        if "worker" in addresses:
            del config["worker-service"]  # workers here differ by port, which no look-up of a name tells
        path.write_text(yaml.safe_dump(config))
        container = objects.container(component)
        arguments = [a for a in container["args"] if not a.startswith("--config=")]
        environment = {e["name"]: test_binary.in_folder(e.get("value", "1"), folder) for e in container.get("env", [])}
        self.process = subprocess.Popen([test_binary.BINARY, *arguments, f"--config={path}"], env=environment, text=True,
                                        stdout=subprocess.PIPE, stderr=self.log)
        line = self.process.stdout.readline()  # printed when it serves
        assert line, f"{component} does not start:\n" + (folder / f"{component}.log").read_text()
        self.address = json.loads(line)["listen"]

    def stop(self):
        """Ends it as the kubelet would; the exit code."""
        self.process.send_signal(signal.SIGTERM)
        code = self.process.wait(STOP_SECONDS)
        self.log.close()
        return code

    def end(self):
        """Ends it somehow; for the end of a test."""
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()


def chat(server, *arguments):
    """The last frame of a turn of `lckv chat`; AssertionError with its message when the turn fails."""
    result = start_chat(server, *arguments)
    return finish_chat(result)


def start_chat(server, *arguments):
    """A turn in progress."""
    return subprocess.Popen([test_binary.BINARY, "chat", f"--server={server}", "--json", *arguments], text=True,
                            stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def finish_chat(process):
    output, errors = process.communicate(timeout=90)
    assert process.returncode == 0, errors
    return json.loads(output.splitlines()[-1])["done"]
