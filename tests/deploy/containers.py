"""Containers for the tests of deploy/: podman and buildah with a configuration of their own, and a Debian base image."""

import contextlib
import os
import pathlib
import shutil
import subprocess

import pytest

from harness import BINARY, ROOT
from harness.tools import Tool

CACHE = pathlib.Path(os.environ.get("LCKV_CACHE") or
                     pathlib.Path(os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache") / "lckv")
BASE = "localhost/lckv-test-base:bookworm"

# podman asks for more open files than a container inside a container may have, and its usual runtime does not know
# machines that have both versions of cgroups.
CONFIGURATION = """
[containers]
default_ulimits = ["nofile=1024:1024", "nproc=1024:1024"]
[engine]
runtime = "runc"
cgroup_manager = "cgroupfs"
events_logger = "file"
"""

# What each container of the tests runs with: what deploy/compose.yaml and the chart ask for.
LOCKED = ["--read-only", "--cap-drop", "all", "--security-opt", "no-new-privileges"]


def missing():
    """Why containers cannot run here; None if they can."""
    if os.geteuid() != 0:
        return "containers are built and run as root"
    absent = [name for name in ("buildah", "podman", "runc", "mmdebstrap") if shutil.which(name) is None]
    return f"{', '.join(absent)} missing: scripts/setup.sh --deploy" if absent else None


def write_configuration(folder):
    file = folder / "containers.conf"
    file.write_text(CONFIGURATION)
    return {"CONTAINERS_CONF": str(file)}


def make_base(podman):
    """Imports the base image; its archive is made once and kept."""
    if podman.run("image", "exists", BASE, check=False).returncode == 0:
        return
    CACHE.mkdir(parents=True, exist_ok=True)
    archive = CACHE / "debian-bookworm-minbase.tar"
    if not archive.exists():
        scratch = archive.with_suffix(f".{os.getpid()}.tar")
        Tool("mmdebstrap", "--quiet", "--variant=minbase", "--format=tar", seconds=600).run("bookworm", scratch)
        scratch.rename(archive)
    podman.run("import", "--quiet", archive, BASE)


def start(folder):
    """A podman that works, with the base image in it; skips the tests where there is none."""
    reason = missing()
    environment = write_configuration(folder)
    podman = Tool("podman", environment=environment, seconds=300)
    try:
        if reason is None:
            make_base(podman)
            podman.run("run", "--rm", BASE, "true")
    except (AssertionError, subprocess.TimeoutExpired) as error:
        reason = f"containers do not work here: {error}"
    if reason is not None:
        if os.environ.get("LCKV_CONTAINERS") == "required":
            pytest.fail(reason)
        pytest.skip(reason)
    return podman


@contextlib.contextmanager
def image(podman, tag):
    """Builds the image from the binary under test; removed in the end, with what building it left."""
    dangling = ("images", "--quiet", "--filter", "dangling=true")
    before = set(podman.output(*dangling).split())
    Tool(ROOT / "scripts" / "image.sh", environment=podman.environment, seconds=300).run(
        "--bin", BINARY.parent, "--base", BASE, "--tag", tag)
    left = set(podman.output(*dangling).split()) - before
    try:
        yield tag
    finally:
        podman.run("image", "rm", "--force", tag, *left, check=False)
