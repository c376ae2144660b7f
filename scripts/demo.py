#!/usr/bin/env python3
"""The demo behind demo.sh: a cache node, two workers and a gateway, each a process of its own, and conversations that
go on while these are killed. Every turn is compared with an undisturbed twin session: same tokens, or the demo fails.
"""

import argparse
import dataclasses
import json
import os
import shutil
import signal
import subprocess
import sys
import time
import urllib.request

WIDTH = 100
PATIENCE_SECONDS = 60
IDLE_SECONDS = 3


class DemoError(Exception):
    pass


@dataclasses.dataclass
class Script:
    """A conversation with one model."""
    title: str
    prompts: list
    sampling: list  # flags of `lckv chat`


SCRIPTS = {
    "lckv": Script(
        "bard-lckv-w2: layer-condensed KV (3 of 8 layers have keys and values), in the manner of a play",
        ["Who's there?",
         "What news from the court?",
         "Tell me of the battle, and of all that you have seen there.",
         "And what said the king?",
         "Then farewell, good sir."],
        ["--temperature", "0.8", "--top-p", "0.95", "--max-tokens", "200"]),
    "smollm2": Script(
        "SmolLM2-135M-Instruct: an ordinary Llama (every layer has its own keys and values)",
        ["What is the capital of France?",
         "What is it famous for?",
         "Tell me more about its history.",
         "Which river runs through it?",
         "Thank you!"],
        ["--temperature", "0", "--max-tokens", "120"]),
}


class Services:
    """The four processes. Killed when the demo ends, however it ends."""

    def __init__(self, binary, model, folder):
        self.binary, self.model, self.logs, self.data = binary, model, f"{folder}/logs", f"{folder}/data"
        self.processes, self.addresses, self.metrics = {}, {}, {}
        shutil.rmtree(folder, ignore_errors=True)
        os.makedirs(self.logs)

    def __enter__(self):
        try:
            for name in ("cache-node", "worker-1", "worker-2", "gateway"):
                self.start(name)
            self.wait_for_workers(2)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        for process in self.processes.values():
            process.kill()
            process.wait()

    def command(self, name):
        address = self.addresses.get
        if name == "cache-node":
            flags = ["cache-node", "--data", self.data]
        elif name == "gateway":
            flags = ["gateway", "--cache-node", address("cache-node"),
                     "--worker", address("worker-1"), "--worker", address("worker-2")]
        else:
            flags = ["worker", "--worker-id", name, "--cache-node", address("cache-node"), "--model", self.model,
                     "--threads", str(max(1, os.cpu_count() or 1)), "--idle-evict-seconds", str(IDLE_SECONDS)]
        return [self.binary] + flags + ["--listen", address(name, "127.0.0.1:0")]

    def start(self, name):
        """Starts a service, again at its former address, and waits for its ready line."""
        with open(f"{self.logs}/{name}.log", "ab") as log:
            # A group of its own: ^C ends the demo, which then ends the services.
            process = subprocess.Popen(self.command(name), stdout=subprocess.PIPE, stderr=log, start_new_session=True)
        self.processes[name] = process
        line = process.stdout.readline()
        if not line:
            raise DemoError(f"{name} did not start, see {self.logs}/{name}.log")
        ready = json.loads(line)
        self.addresses[name], self.metrics[name] = ready["listen"], ready["metrics"]

    def kill(self, name):
        self.processes[name].send_signal(signal.SIGKILL)
        self.processes[name].wait()

    def tool(self, *arguments):
        return [self.binary, *arguments, "--server", self.addresses["gateway"]]

    def session(self, session):
        result = subprocess.run(self.tool("sessions", "show", session, "--json"), capture_output=True, text=True,
                                check=False)
        return json.loads(result.stdout) if result.returncode == 0 else {}

    @staticmethod
    def wait(what, condition):
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not condition():
            if time.monotonic() > deadline:
                raise DemoError(f"waited {PATIENCE_SECONDS} s for {what}")
            time.sleep(0.1)

    def wait_for_workers(self, count):
        def ready():
            with urllib.request.urlopen(f"http://{self.metrics['gateway']}/metrics", timeout=5) as answer:
                return f'lckv_gateway_workers{{state="ready"}} {count}\n' in answer.read().decode()

        self.wait(f"{count} workers", ready)

    def wait_until_cold(self, session):
        self.wait("the idle session to leave its worker", lambda: self.session(session).get("state") == "cold")


@dataclasses.dataclass
class Reply:
    tokens: list
    text: str
    done: dict


def say(services, script, session, prompt, seed, on_tokens=lambda count, text: None):
    """One turn; `on_tokens` sees how many tokens there are and the text that came with the newest."""
    command = services.tool("chat", "--json", "--session", session, "--prompt", prompt, "--seed", str(seed),
                            *script.sampling)
    reply = Reply([], "", {})
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        for line in process.stdout:
            frame = json.loads(line)
            reply.tokens += frame.get("token_ids", [])
            reply.text += frame.get("text", "")
            reply.done = frame.get("done", reply.done)
            on_tokens(len(reply.tokens), frame.get("text", ""))
        errors = process.stderr.read().strip()
    if not reply.done:
        raise DemoError(f"the turn failed: {errors}")
    return reply


def rehearse(services, script):
    """The whole conversation in a session that nothing happens to. A seed is chosen with which the third answer is long
    enough to be broken off in the middle."""
    for seed in range(1, 40):
        replies = [say(services, script, f"twin-{seed}", prompt, seed) for prompt in script.prompts[:3]]
        if len(replies[2].tokens) < 40:
            continue
        replies += [say(services, script, f"twin-{seed}", prompt, seed) for prompt in script.prompts[3:]]
        return seed, replies
    raise DemoError("no seed gives a long third answer")


class Page:
    """What the user sees: words as they arrive, wrapped and indented."""

    INDENT = 11

    def __init__(self):
        self.column, self.word, self.space = 0, "", False

    def line(self, text=""):
        self.end_line()
        print(text, flush=True)

    def end_line(self):
        self.flush_word()
        if self.column:
            print(flush=True)
        self.column, self.space = 0, False

    def begin(self, who):
        print(f"  {who:<{self.INDENT - 2}}", end="", flush=True)
        self.column, self.space = self.INDENT, False

    def write(self, text):
        for letter in text:
            if not letter.isspace():
                self.word += letter
                continue
            self.flush_word()
            self.space = True
            if letter == "\n":
                self.new_line()
        sys.stdout.flush()

    def flush_word(self):
        if self.column + self.space + len(self.word) > WIDTH:
            self.new_line()
        if self.word:
            text = " " + self.word if self.space and self.column > self.INDENT else self.word
            print(text, end="")
            self.column += len(text)
            self.word, self.space = "", False

    def new_line(self):
        print("\n" + " " * self.INDENT, end="")
        self.column, self.space = self.INDENT, False


def size(count):
    if count < 1024:
        return f"{count} B"
    return f"{count / 1024:.1f} KiB" if count < 1 << 20 else f"{count / (1 << 20):.1f} MiB"


ORIGINS = {"new": "a new session", "hot": "KV was in the worker", "cache_node": "KV came from the cache node",
           "recomputed": "KV was computed again"}


def worker_name(worker_id):
    """worker-1 of worker-1#4711abcd: without the mark of its incarnation."""
    return worker_id.split("#")[0]


def summary(done, kv_bytes_full_map):
    usage, timings, kv_bytes = done["usage"], done["timings"], int(done["kv_bytes_per_token"])
    compared = f", {kv_bytes_full_map:,} with the full map" if kv_bytes != kv_bytes_full_map else ", the full map"
    rate = usage["generated_tokens"] / timings["decode_seconds"] if timings["decode_seconds"] > 0 else 0
    return [
        f"{worker_name(done['worker'])}: {usage['generated_tokens']} tokens, {rate:.0f} tokens/s, first after "
        f"{1000 * timings['time_to_first_token_seconds']:.0f} ms",
        f"restore_source {done['restore_source']}, {ORIGINS[done['restore_source']]}: {usage['cached_tokens']} tokens "
        f"cached, {usage['reencoded_tokens']} computed again, {size(usage['restored_bytes'])} moved in "
        f"{1000 * timings['restore_seconds']:.0f} ms",
        f"KV {kv_bytes:,} bytes a token{compared}",
    ]


class Demo:
    def __init__(self, services, script, kv_bytes_full_map):
        self.services, self.script, self.page = services, script, Page()
        self.kv_bytes_full_map = kv_bytes_full_map
        self.session = "demo"
        print("First the same conversation is held in a twin session, which nothing happens to.\n", flush=True)
        self.seed, self.twin = rehearse(services, script)

    def turn(self, number, kill_after=None):
        """One turn as the user sees it. With `kill_after` its worker is killed after that many tokens: its name."""
        page, twin, prompt = self.page, self.twin[number - 1], self.script.prompts[number - 1]
        holder = worker_name(self.services.session(self.session).get("worker", ""))
        page.line(f"Turn {number}")
        page.begin("user")
        page.write(prompt)
        page.end_line()
        page.begin("model")
        killed = []

        def show(count, text):
            page.write(text)
            if kill_after is not None and not killed and count >= kill_after:
                self.services.kill(holder)
                killed.append(holder)
                page.write(f" [kill -9 {holder}, after {count} tokens] ")

        reply = say(self.services, self.script, self.session, prompt, self.seed, show)
        for line in summary(reply.done, self.kv_bytes_full_map):
            page.line(" " * Page.INDENT + line)
        if killed and not reply.done["continuations"]:
            raise DemoError("the answer was complete before the worker was killed")
        if killed:
            page.line(f"{'':11}the stream went on, on {worker_name(reply.done['worker'])}")
        if reply.tokens != twin.tokens:
            raise DemoError(f"turn {number}: other tokens than the undisturbed twin")
        page.line(f"{'':11}all {len(reply.tokens)} tokens are those of the undisturbed twin session")
        page.line()
        return holder

    def run(self):
        tell = self.page.line
        self.turn(1)
        self.turn(2)
        tell("Now the worker that holds the session is killed in the middle of its answer.")
        dead = self.turn(3, kill_after=min(20, len(self.twin[2].tokens) // 3))
        self.services.start(dead)
        self.services.wait_for_workers(2)
        tell(f"{dead} is back. The session stays idle for {IDLE_SECONDS} s, and leaves its worker.")
        self.services.wait_until_cold(self.session)
        self.turn(4)
        tell("Idle again; then the cache node, which alone has the session, is killed and started again.")
        self.services.wait_until_cold(self.session)
        self.services.kill("cache-node")
        self.services.start("cache-node")
        self.turn(5)


def describe(services):
    """Prints what runs; returns the KV bytes of a token if every layer had its own."""
    result = subprocess.run([services.binary, "inspect", "--model", services.model, "--json"], capture_output=True,
                            text=True, check=True)
    model = json.loads(result.stdout)
    own, full = model["kv_bytes_per_token"], model["kv_bytes_per_token_full_map"]
    print(f"  layer map  {model['layer_map']}" if own != full else "  layer map  every layer its own")
    compared = f"with the full map {full:,}: {full / own:.1f} times as many" if own != full else "the full map"
    print(f"  KV         {own:,} bytes a token ({model['kv_dtype']}); {compared}")
    print("  services   " + ", ".join(f"{name} {address}" for name, address in services.addresses.items()))
    print(f"  logs       {os.path.relpath(services.logs)}\n", flush=True)
    return full


def chat(services):
    print("An empty line is ignored, Ctrl-D ends the chat.\n", flush=True)
    subprocess.run(services.tool("chat"), check=False)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--binary", required=True)
    parser.add_argument("--folder", required=True)
    parser.add_argument("--lckv-model", required=True)
    parser.add_argument("--smollm2-model", required=True)
    parser.add_argument("--model", choices=["lckv", "smollm2", "both"], help="default: both; for --chat: smollm2")
    parser.add_argument("--chat", action="store_true", help="an interactive chat instead")
    arguments = parser.parse_args()
    models = {"lckv": arguments.lckv_model, "smollm2": arguments.smollm2_model}
    chosen = arguments.model or ("smollm2" if arguments.chat else "both")
    for name in models if chosen == "both" else [chosen]:
        script = SCRIPTS[name]
        print(f"\n=== {script.title}\n", flush=True)
        with Services(arguments.binary, models[name], f"{arguments.folder}/{name}") as services:
            kv_bytes_full_map = describe(services)
            if arguments.chat:
                chat(services)
            else:
                Demo(services, script, kv_bytes_full_map).run()
                print("Every turn gave the tokens of the twin session.", flush=True)
    return 0


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        sys.exit(main())
    except (DemoError, OSError) as error:
        print(f"\ndemo: {error}", file=sys.stderr)
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)
