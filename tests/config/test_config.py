"""Configuration of the real binary: the three layers, --check-config, --print-config, and the document's tables."""

import subprocess

import pytest
import yaml

import config_docs
from harness import BINARY
from harness.services import Service, environment

SERVICES = ["gateway", "worker", "cache-node"]
# What each service cannot do without.
REQUIRED = {
    "gateway": {"worker": ["127.0.0.1:1"], "cache-node": "127.0.0.1:2"},
    "worker": {"model": "/models/none", "cache-node": "127.0.0.1:2"},
    "cache-node": {},
}


def lckv(*arguments, **variables):
    return subprocess.run([BINARY, *arguments], env=environment(variables), capture_output=True, text=True, timeout=60,
                          check=False)


@pytest.fixture
def config_file(tmp_path):
    def write(content):
        path = tmp_path / "lckv.yaml"
        path.write_text(content if isinstance(content, str) else yaml.safe_dump(content))
        return str(path)
    return write


@pytest.mark.parametrize("service", SERVICES)
def test_what_is_printed_is_valid_yaml_and_sets_the_same(service, config_file):
    printed = lckv(service, "--print-config", "--config", config_file(REQUIRED[service]))
    assert printed.returncode == 0, printed.stderr
    values = yaml.safe_load(printed.stdout)
    assert values["log-level"] == "info"
    for key, value in REQUIRED[service].items():
        assert values[key] == value
    again = config_file(printed.stdout)
    checked = lckv(service, "--check-config", "--config", again)
    assert checked.returncode == 0, checked.stderr
    assert checked.stdout.startswith(f"{service}: the configuration is valid, ")
    assert yaml.safe_load(lckv(service, "--print-config", "--config", again).stdout) == values


@pytest.mark.parametrize("service", SERVICES)
def test_half_of_tls_is_an_error(service, config_file):
    half = {**REQUIRED[service], "tls-cert": "/tls/tls.crt", "tls-key": "/tls/tls.key"}
    result = lckv(service, "--check-config", "--config", config_file(half))
    assert result.returncode == 1
    assert "--tls-ca" in result.stderr
    assert lckv(service, "--check-config", "--config", config_file({**half, "tls-ca": "/tls/ca.crt"})).returncode == 0


@pytest.mark.parametrize("service", SERVICES)
def test_every_key_is_taken_from_the_environment(service, config_file):
    printed = lckv(service, "--print-config", "--config", config_file(REQUIRED[service])).stdout
    for key, value in yaml.safe_load(printed).items():
        if value in ("", []):
            continue
        text = ",".join(value) if isinstance(value, list) else str(value)
        if isinstance(value, bool):
            text = text.lower()
        variable = "LCKV_" + key.upper().replace("-", "_")
        result = lckv(service, "--print-config", "--config", config_file(REQUIRED[service]), **{variable: text})
        assert f"# environment {variable}\n" in result.stdout, (variable, text, result.stderr)


def test_flags_over_environment_over_file(config_file):
    path = config_file({**REQUIRED["worker"], "threads": 1, "kv-memory": "85%", "lease-ttl": "9s"})
    result = lckv("worker", "--config", path, "--threads", "3", "--print-config", LCKV_THREADS="2", LCKV_LEASE_TTL="8s")
    assert result.returncode == 0, result.stderr
    assert "threads: 3  # flag --threads\n" in result.stdout
    assert "lease-ttl: 8s  # environment LCKV_LEASE_TTL\n" in result.stdout
    assert f"kv-memory: 85%  # {path}:" in result.stdout


def test_errors_name_their_source(config_file):
    path = config_file("kv-memry: 1\nkv-memory: much\ncache-node: 127.0.0.1:2\n")
    result = lckv("worker", "--config", path, "--check-config", "--log-level", "loud", LCKV_LEASE_TTL="soon",
                  LCKV_MODLE="x")
    assert result.returncode == 1
    assert result.stdout == ""
    for line in [f"{path}:1: unknown key 'kv-memry', did you mean 'kv-memory'?",
                 f"{path}:2: kv-memory: want auto, a share such as 85% or a size such as 256MiB or 4GB",
                 "flag --log-level: want debug, info, warning or error",
                 "environment LCKV_LEASE_TTL: want a positive duration such as 250ms, 30s, 10m",
                 "environment LCKV_MODLE: unknown, did you mean LCKV_MODEL?"]:
        assert f"lckv worker: {line}\n" in result.stderr


@pytest.mark.parametrize("service, flags, error", [
    ("gateway", [], "--cache-node: is required"),
    ("gateway", ["--cache-node", "a:1"], "--worker: want --worker, --worker-service, or both"),
    ("gateway", ["--cache-node", "a:1", "--worker-service", "b"], "flag --worker-service: address 'b': want host:port"),
    ("gateway", ["--cache-node", "a:1", "--worker-service", "b:1", "--worker-resolve-interval", "1ms"],
     "flag --worker-resolve-interval: want 100ms at least"),
    ("worker", [], "--cache-node: is required"),
    ("worker", ["--cache-node", "a:1"], "--model: want --model or --random-weights, and not both"),
    ("worker", ["--cache-node", "a:1", "--model", "m", "--random-weights", "r"], "flag --model: want --model or"),
    ("worker", ["--cache-node", "a:1", "--model", "m", "--device", "gpu"], "flag --device: want auto, cpu, cuda:N"),
    ("cache-node", ["--listen", "8082"], "flag --listen: address '8082': want host:port"),
    ("cache-node", ["--config", "/nowhere.yaml"], "/nowhere.yaml: cannot be opened"),
])
def test_check_config_refuses(service, flags, error):
    result = lckv(service, "--check-config", *flags)
    assert result.returncode == 1
    assert error in result.stderr


# A cache node runs with what the file says: it listens where the file wants it.
def test_a_service_runs_with_its_file(config_file, tmp_path):
    path = config_file({"listen": "127.0.0.2:0", "metrics-listen": "", "data": str(tmp_path / "data"),
                        "arena-bytes": "1MiB"})
    with Service(tmp_path, "cache-node", [BINARY, "cache-node", "--config", path]) as node:
        assert node.listen.startswith("127.0.0.2:")
        node.stop()
    assert (tmp_path / "data").is_dir()


def test_the_document_has_the_binarys_tables():
    document = config_docs.DOCUMENT.read_text(encoding="utf-8")
    assert config_docs.services(document) == SERVICES
    assert config_docs.generated(BINARY, document) == document, "run tests/config/config_docs.py --update"


# Every example of the document is a file that its service takes.
def test_the_documents_examples(config_file):
    document = config_docs.DOCUMENT.read_text(encoding="utf-8")
    examples = document.split("```yaml\n")[1:]
    assert examples
    for example in examples:
        text = example.split("```")[0]
        service = text.splitlines()[0].removeprefix("# ").removesuffix(".yaml")
        result = lckv(service, "--check-config", "--config", config_file(text))
        assert result.returncode == 0, result.stderr
