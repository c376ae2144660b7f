"""The container image: what is in it, and that a conversation in it outlives its worker."""

import json
import os
import pathlib
import re
import shutil
import sys
import uuid

import containers
import pytest

from harness import BINARY, MODEL, ROOT
from harness.processes import free_port, wait_until
from harness.services import say
from harness.tools import Tool

MOST_BYTES = 200 * 10**6  # beside the base
NAME = f"lckv-test-{uuid.uuid4().hex[:8]}"


@pytest.fixture(scope="module", name="podman")
def fixture_podman(tmp_path_factory):
    return containers.start(tmp_path_factory.mktemp("podman"))


@pytest.fixture(scope="module", name="image")
def fixture_image(podman):
    with containers.image(podman, f"localhost/{NAME}:test") as tag:
        yield tag


def inspect(podman, image):
    return json.loads(podman.output("image", "inspect", image))[0]


def test_dockerfile_has_no_findings():
    hadolint = pathlib.Path(sys.executable).parent / "hadolint"
    result = Tool(hadolint).run(ROOT / "deploy" / "Dockerfile", check=False)
    assert result.returncode == 0, result.stdout


def test_configuration(podman, image):
    config = inspect(podman, image)["Config"]
    assert config["User"] == "10001:10001"
    assert config["Entrypoint"] == ["lckv"]
    assert config["StopSignal"] == "SIGTERM"
    assert config["WorkingDir"] == "/data"
    labels = {key.removeprefix("org.opencontainers.image."): value for key, value in config["Labels"].items()}
    version = re.search(r"project\(lckv VERSION (\S+)", (ROOT / "CMakeLists.txt").read_text())[1]
    assert labels["title"] == "lckv" and labels["version"] == version
    assert labels["description"] and re.fullmatch(r"[0-9a-f]{7,40}|unknown", labels["revision"])


def test_size(podman, image):
    size = inspect(podman, image)["Size"] - inspect(podman, containers.BASE)["Size"]
    print(f"{size / 1e6:.1f} MB beside the base")
    assert 0 < size < MOST_BYTES


def test_holds_the_program_and_its_libraries_only(podman, image):
    listing = ["find", "/", "-xdev", "(", "-type", "f", "-o", "-type", "l", ")", "-printf", "%p %m\\n"]
    run = ["run", "--rm", "--network", "none", "--user", "0", "--entrypoint", listing[0]]
    base, ours = ({tuple(line.split(" ")) for line in podman.output(*run, tag, *listing[1:]).splitlines()}
                  for tag in (containers.BASE, image))
    # Files that the container's start writes are in both. ld.so.cache is made by ldconfig.
    added = {path: int(mode, 8) for path, mode in ours - base}
    places = ("/usr/local/bin/lckv", "/usr/local/lib/", "/usr/local/share/doc/lckv/", "/etc/ld.so.c", "/var/cache/ldconfig/")
    assert [path for path in added if not path.startswith(places)] == []
    assert [path for path, mode in added.items() if mode & 0o6000] == []
    libraries = {path.rsplit("/", 1)[1] for path in added if path.startswith("/usr/local/lib/")}
    needed = set(re.findall(r"(\S+) => /", Tool("ldd").output(BINARY)))
    assert libraries <= needed and "librocksdb.so.7.8" in libraries
    assert any(path.endswith("librocksdb7.8.copyright") for path in added)


@pytest.mark.parametrize("service", ["gateway", "worker", "cache-node"])
def test_three_services_in_one_image(podman, image, service):
    text = podman.output("run", "--rm", "--network", "none", *containers.LOCKED, image, service, "--help")
    assert "--listen" in text and "--metrics-listen" in text


class Services:
    """A cache node, two workers and a gateway: containers that share the machine's network."""

    NAMES = ("cache-node", "worker-1", "worker-2", "gateway")

    def __init__(self, podman, image):
        self.podman, self.image = podman, image
        self.address = {name: f"127.0.0.1:{free_port()}" for name in self.NAMES}
        self.podman.run("volume", "create", NAME)

    def __enter__(self):
        try:
            for name in self.NAMES:
                self.start(name)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        for name in self.NAMES:
            self.podman.run("rm", "--force", "--time", "1", f"{NAME}-{name}", check=False)
        self.podman.run("volume", "rm", "--force", NAME, check=False)

    def flags(self, name):
        if name == "cache-node":
            return ["cache-node", "--data", "/data"]
        cache_node = ["--cache-node", self.address["cache-node"]]
        if name == "gateway":
            return ["gateway", *cache_node, "--worker", self.address["worker-1"], "--worker", self.address["worker-2"]]
        return ["worker", *cache_node, "--worker-id", name, "--model", "/model", "--threads", "1"]

    def start(self, name):
        volumes = {"cache-node": ["-v", f"{NAME}:/data"], "gateway": []}.get(name, ["-v", f"{MODEL}:/model:ro"])
        self.podman.run("run", "--detach", "--name", f"{NAME}-{name}", "--network", "host", *containers.LOCKED, "--memory",
                        "1g", *volumes, self.image, *self.flags(name), "--listen", self.address[name])
        wait_until(f"{name} to serve", lambda: self.health(name) == 0)

    def health(self, name, service="ready"):
        """Asked as a health check asks: inside the container."""
        return self.podman.run("exec", f"{NAME}-{name}", "lckv", "health", "--server", self.address[name], "--service", service,
                               check=False).returncode

    def stop(self, name):
        """SIGTERM: the exit status."""
        self.podman.run("stop", "--time", "60", f"{NAME}-{name}")
        return int(self.podman.output("inspect", "--format", "{{.State.ExitCode}}", f"{NAME}-{name}"))

    def process(self, name):
        """Of the container's first process, as the kernel tells: its status and its mounts, {where: options}."""
        pid = self.podman.output("inspect", "--format", "{{.State.Pid}}", f"{NAME}-{name}")
        folder = pathlib.Path("/proc", pid)
        status = dict(line.split(":\t", 1) for line in (folder / "status").read_text().splitlines() if ":\t" in line)
        mounts = [line.split() for line in (folder / "mounts").read_text().splitlines()]
        return status, {mount[1]: mount[3].split(",") for mount in mounts}

    def chat(self, prompt):
        return say(self.address["gateway"], "play", prompt)


def test_a_conversation_outlives_its_worker_and_the_cache_node(podman, image):
    with Services(podman, image) as services:
        for name in services.NAMES:
            status, mounts = services.process(name)
            assert status["Name"] == "lckv"
            assert set(status["Uid"].split()) == {"10001"} and set(status["Gid"].split()) == {"10001"}
            assert {int(status[key], 16) for key in ("CapEff", "CapPrm", "CapBnd", "CapAmb")} == {0}
            assert status["NoNewPrivs"] == "1" and status["Seccomp"] == "2"
            assert "ro" in mounts["/"]
            assert services.health(name, "no.such.Service") == 1

        tokens, first = services.chat("Who's there?")
        assert tokens and first["restore_source"] == "new"
        holder = first["worker"].split("#")[0]
        other = {"worker-1": "worker-2", "worker-2": "worker-1"}[holder]

        assert services.stop(holder) == 0
        tokens, second = services.chat("What news from the court?")
        assert tokens and second["worker"].split("#")[0] == other
        assert second["restore_source"] == "cache_node"
        assert second["usage"]["reencoded_tokens"] == 0 and second["usage"]["cached_tokens"] > 0

        # Everything goes, and comes back: the sessions are in the volume.
        for name in ("gateway", other, "cache-node"):
            assert services.stop(name) == 0
        for name in ("cache-node", other, "gateway"):
            podman.run("rm", f"{NAME}-{name}")
            services.start(name)
        tokens, third = services.chat("And what said the king?")
        assert tokens and third["restore_source"] == "cache_node"
        assert third["usage"]["reencoded_tokens"] == 0
        assert third["usage"]["cached_tokens"] > second["usage"]["cached_tokens"]


def test_the_files_of_the_cuda_variant(tmp_path):
    """Collected, not built, with another program in the place of the library: cuBLAS has half a gigabyte."""
    collect = Tool(ROOT / "scripts" / "image.sh", seconds=120)
    arguments = ("--bin", tmp_path, "--cuda", "--collect", tmp_path / "files")
    (tmp_path / "lckv").symlink_to(BINARY)
    result = collect.run(*arguments, check=False)
    assert result.returncode == 1 and "liblckv_cuda.so" in result.stderr
    (tmp_path / "liblckv_cuda.so").symlink_to(BINARY)
    collect.run(*arguments)
    assert (tmp_path / "files" / "usr" / "local" / "lib" / "liblckv_cuda.so").stat().st_size > 0
    assert (tmp_path / "files" / "usr" / "local" / "bin" / "lckv").exists()

    # As without the packages of CUDA.
    ldd = tmp_path / "ldd"
    ldd.write_text(f"#!/bin/sh\ncase $1 in *_cuda.so) printf '\\tlibcublas.so => not found\\n' ;; *) {shutil.which('ldd')} $1 ;; esac\n")
    ldd.chmod(0o755)
    incomplete = Tool(*collect.command, environment={"PATH": f"{tmp_path}:{os.environ['PATH']}"})
    result = incomplete.run(*arguments, check=False)
    assert result.returncode == 1 and "needs libcublas.so" in result.stderr
