"""The commands in the documents. What a fenced block's info string says decides what happens to it:

sh run       runs here; the block "text output" after it is what it prints (LCKV_UPDATE_DOCS=1 writes it)
sh services, sh backup, sh restore    run by test_backup.py
anything else: scripts, files, flags and values that its commands name must exist. A service's command must also pass its own
--check-config.
"""

import dataclasses
import functools
import os
import re
import shlex
import subprocess

import pytest
import yaml

from harness import BINARY, ROOT
from harness.tools import Tool

DOCUMENTS = sorted([ROOT / "README.md", *(ROOT / "docs").glob("*.md"), *(ROOT / "helm").glob("*/README.md")])
SERVICES = ("gateway", "worker", "cache-node")
PATH = re.compile(r"^(?:scripts|deploy|docs|helm|tests)/[\w./-]+$")


@dataclasses.dataclass
class Block:
    path: object
    line: int
    info: str
    text: str
    output: str = None  # what the document says that it prints

    @property
    def name(self):
        return f"{self.path.relative_to(ROOT)}:{self.line}"


def blocks():
    found = []
    for path in DOCUMENTS:
        open_info, begin, lines = None, 0, []
        for number, line in enumerate(path.read_text().splitlines(), 1):
            if not line.startswith("```"):
                lines.append(line)
            elif open_info is None:
                open_info, begin, lines = line[3:].strip(), number, []
            else:
                text = "".join(each + "\n" for each in lines)
                if open_info == "text output":
                    found[-1].output = text
                else:
                    found.append(Block(path, begin, open_info, text))
                open_info = None
        assert open_info is None, f"{path}: a block is not closed"
    return found


BLOCKS = blocks()
RUN = [block for block in BLOCKS if block.info == "sh run"]
OTHERS = [block for block in BLOCKS if block.info not in ("sh run", "yaml", "text", "json")]


def with_output(document, block, output):
    """The document, with another output of `block`. Found by its text: other outputs above it may have been written since."""
    before = f"{block.text}```\n\n```text output\n"
    assert document.count(before + block.output) == 1, block.name
    return document.replace(before + block.output, before + output)


def test_outputs_are_written_where_they_belong():
    document = "".join(f"```sh run\n{text}\n```\n\n```text output\n{output}\n```\n" for text, output in ("ab", "cd"))
    document = with_output(document, Block(ROOT / "a.md", 1, "sh run", "a\n", "b\n"), "1\n2\n")
    document = with_output(document, Block(ROOT / "a.md", 8, "sh run", "c\n", "d\n"), "3\n")
    assert document == ("```sh run\na\n```\n\n```text output\n1\n2\n```\n"
                        "```sh run\nc\n```\n\n```text output\n3\n```\n")


@pytest.mark.parametrize("block", RUN, ids=lambda block: block.name)
def test_runs(block, tmp_path):
    environment = {**os.environ, "LCKV": str(BINARY), "TMPDIR": str(tmp_path),
                   "PATH": f"{BINARY.parent}:{os.environ['PATH']}"}
    result = subprocess.run(["bash", "-euo", "pipefail", "-c", block.text], cwd=ROOT, env=environment, text=True,
                            capture_output=True, timeout=120, check=False)
    assert result.returncode == 0, f"{block.name}: {result.stderr}"
    if os.environ.get("LCKV_UPDATE_DOCS") and block.output is not None and result.stdout != block.output:
        block.path.write_text(with_output(block.path.read_text(), block, result.stdout))
        pytest.skip("output written")
    if block.output is not None:
        assert result.stdout == block.output, f"{block.name} (LCKV_UPDATE_DOCS=1 writes it)"


@functools.cache
def usage(*command):
    """What `lckv COMMAND… --help` prints; None where there is no such command."""
    result = Tool(BINARY).run(*command, "--help", check=False)
    return result.stdout if result.returncode == 0 else None


def commands(text):
    """Words of each simple command, comments and prompts removed."""
    for line in text.replace("\\\n", " ").splitlines():
        try:
            words = shlex.split(line, comments=True)
        except ValueError:
            continue  # prose or output
        command = []
        for word in words + [";"]:
            if word in ("|", "||", "&&", ";", "&", "{", "}", "(", ")"):
                if command:
                    yield command
                command = []
            else:
                command.append(word)


def is_lckv(word):
    return word in ("lckv", "$LCKV") or word.endswith("/bin/lckv")


def check_lckv(words, where):
    """`words` begin after the program's name."""
    known = [word for word in words if re.fullmatch(r"[a-z-]+", word) and not word.startswith("-")][:2]
    if not known or words[0].endswith(":"):  # a message, not a command
        return
    help_text = usage(*words[:1])
    assert help_text is not None and words[0] == known[0], f"{where}: lckv has no command {words[0]}"
    if len(words) > 1 and re.fullmatch(r"[a-z]+", words[1]):
        help_text += usage(*words[:2]) or ""
    for word in words:
        flag = re.match(r"\[?(--[a-z][a-z-]+)", word)
        if flag is None or flag[1] == "--help":
            continue
        assert re.search(rf"{re.escape(flag[1])}(?![\w-])", help_text), f"{where}: lckv {words[0]} has no {flag[1]}"
    plain = not any(re.search(r"[$|\[<…]|^(DIR|FILE|NAME|/model|/etc/)", word.split("=")[-1]) for word in words)
    if words[0] in SERVICES and plain and "--check-config" in help_text and len(words) > 2:
        Tool(BINARY).run(*words, "--check-config")


def source(script):
    """Of a shell script, and of the Python beside it that does the work."""
    files = [ROOT / script, (ROOT / script).with_suffix(".py")]
    return "".join(file.read_text() for file in files if file.exists())


def check_values(words, where):
    """helm's --set KEY=VALUE: the key is in the chart's values."""
    file = ROOT / "helm" / "lckv" / "values.yaml"
    if words[0] != "helm" or not file.exists():
        return
    for flag, value in zip(words, words[1:]):
        if not flag.startswith("--set"):
            continue
        node = yaml.safe_load(file.read_text())
        for key in value.split("=", 1)[0].split("."):
            assert isinstance(node, dict) and key in node, f"{where}: the chart has no value {value}"
            node = node[key]


@pytest.mark.parametrize("block", OTHERS, ids=lambda block: block.name)
def test_names_what_exists(block):
    for words in commands(block.text):
        where = f"{block.name}: {' '.join(words)}"
        script = words[0] if words[0].startswith("scripts/") else None
        for word in words:
            if PATH.match(word.split("=")[-1]):
                assert (ROOT / word.split("=")[-1]).exists(), where
            if script and word.startswith("--"):
                assert word.split("=")[0] in source(script), f"{where}: no {word}"
        for position, word in enumerate(words):
            if is_lckv(word) and (position == 0 or (words[0] in ("kubectl", "docker", "podman") and "exec" in words[:position])
                                  and words[position - 1] != "-p"):
                check_lckv(words[position + 1:], where)
                break
        check_values(words, where)


@pytest.mark.parametrize("name", ["operating", "security", "sizing"])
def test_flags_in_the_text_exist(name):
    text = (ROOT / "docs" / f"{name}.md").read_text()
    lckv = "".join(usage(command) or "" for command in (*SERVICES, "chat", "plan", "bench", "up", "health", "api-key"))
    lckv += "".join(path.read_text() for path in (ROOT / "scripts").iterdir() if path.suffix in (".sh", ".py"))
    for flag in set(re.findall(r"`(--[a-z][a-z-]+)", text)):
        assert re.search(rf"{flag}(?![\w-])", lckv), f"docs/{name}.md: nothing has {flag}"


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_somewhere(path):
    for target in re.findall(r"\]\(([^)\s]+)\)", path.read_text()):
        if not re.match(r"[a-z]+:", target):
            file, _, anchor = target.partition("#")
            file = path.parent / file if file else path
            assert file.exists(), f"{path.name}: {target}"
            if anchor:
                assert anchor in anchors(file), f"{path.name}: {target}"


def anchors(path):
    """Of a document's headings, as they are made of them on the web."""
    headings = re.findall(r"^#+ (.*)$", path.read_text(), re.M)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_every_alert_has_its_section():
    groups = yaml.safe_load((ROOT / "deploy" / "prometheus" / "rules" / "alerts.yaml").read_text())["groups"]
    rules = [rule for group in groups for rule in group["rules"] if "alert" in rule]
    links = {rule["annotations"]["runbook_url"].split("#")[1] for rule in rules}
    assert links == {rule["alert"].lower() for rule in rules}
    known = anchors(ROOT / "docs" / "operating.md")
    assert links - known == set()
    assert {anchor for anchor in known if re.match(r"lckv[a-z]+$", anchor)} == links


def test_metrics_in_the_text_exist():
    registry = ROOT / "docs" / "metrics.md"
    if not registry.exists():
        pytest.skip("no docs/metrics.md")
    known = set(re.findall(r"`(lckv_\w+)`", registry.read_text()))
    for name in ("operating", "security", "sizing"):
        for metric in re.findall(r"\b(lckv_(?:gateway|worker|cache|tls)_\w+)", (ROOT / "docs" / f"{name}.md").read_text()):
            assert metric in known, f"docs/{name}.md: {metric}"
