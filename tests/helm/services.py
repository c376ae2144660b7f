"""The services as processes of this machine, with the files that the chart renders for them. What is replaced: addresses (loopback,
free ports) and paths (a folder of the test)."""

import test_binary
import yaml
from harness import BINARY
from harness.services import Service


def start(objects, component, folder, **addresses):
    """A service as its pod would run it. `addresses`: keys of its configuration to replace; a folder that was used before keeps its
    data."""
    folder.mkdir(exist_ok=True)
    path = test_binary.write_files(objects, component, folder)
    config = yaml.safe_load(path.read_text())
    config.update({"listen": "127.0.0.1:0", "metrics-listen": "127.0.0.1:0", **addresses})
    if "worker" in addresses:
        del config["worker-service"]  # workers here differ by port, which no look-up of a name tells
    path.write_text(yaml.safe_dump(config))
    container = objects.container(component)
    arguments = [a for a in container["args"] if not a.startswith("--config=")]
    variables = {e["name"]: test_binary.in_folder(e.get("value", "1"), folder) for e in container.get("env", [])}
    return Service(folder, component, [BINARY, *arguments, f"--config={path}"], variables)
