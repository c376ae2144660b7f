#!/usr/bin/env python3
"""lckv beside llama.cpp, on one machine in one run, with one GGUF file: prompt and generation of one stream.

    python3 -m venv peer && peer/bin/pip install llama-cpp-python==0.3.16     (compiles llama.cpp for this machine's processor)
    peer/bin/python tests/bench/peer_bench.py --model FILE.gguf

Rounds by turns, each in a process of its own, the order changing from round to round: neighbours of a shared machine and its
clock then hit both alike. Prints the medians, their range, and the ratio of the medians; --json FILE keeps every sample. Do
nothing else meanwhile: llama.cpp's threads spin between operations, and lose most from company.

What is compared: `encode` is a prompt into an empty context, logits of its last token; `decode` is one token a step after a
short prompt. llama.cpp as llama-bench does it: any tokens, no sampling, KV f16, flash attention by its own choice. lckv with
everything that a turn has (scheduling, sampling, the token stream) and KV bf16. llama.cpp rounds activations to int8 before
products with quantised weights; lckv keeps them float32, as its exactness asks for, so the arithmetic is not the same.
"""

import argparse
import json
import os
import pathlib
import statistics
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
SHORT_PROMPT = 16  # before decoding


def measure_llama_cpp(model_file, prompt, generate, threads):
    """Tokens per second of (encode, decode) in this process."""
    import llama_cpp

    quiet = llama_cpp.llama_log_callback(lambda *_: None)  # called until the end
    llama_cpp.llama_log_set(quiet, None)
    llama_cpp.llama_backend_init()
    model = llama_cpp.llama_model_load_from_file(str(model_file).encode(), llama_cpp.llama_model_default_params())
    if not model:
        sys.exit(f"llama.cpp does not load {model_file}")
    parameters = llama_cpp.llama_context_default_params()
    parameters.n_ctx = max(prompt, SHORT_PROMPT + generate) + 64
    parameters.n_threads = parameters.n_threads_batch = threads
    context = llama_cpp.llama_init_from_model(model, parameters)
    vocabulary = llama_cpp.llama_vocab_n_tokens(llama_cpp.llama_model_get_vocab(model))
    token = llama_cpp.llama_token

    def decode(first, count):
        tokens = (token * count)(*(1 + (first + i) * 7919 % (vocabulary - 1) for i in range(count)))
        if llama_cpp.llama_decode(context, llama_cpp.llama_batch_get_one(tokens, count)) != 0:
            sys.exit("llama_decode failed")
        llama_cpp.llama_synchronize(context)

    def encode_rate():
        llama_cpp.llama_memory_clear(llama_cpp.llama_get_memory(context), True)
        begin = time.perf_counter()
        decode(0, prompt)
        return prompt / (time.perf_counter() - begin)

    def decode_rate():
        llama_cpp.llama_memory_clear(llama_cpp.llama_get_memory(context), True)
        decode(0, SHORT_PROMPT)
        begin = time.perf_counter()
        for i in range(generate):
            decode(SHORT_PROMPT + i, 1)
        return generate / (time.perf_counter() - begin)

    encode_rate()  # warms up, as the other one does
    return {"encode": encode_rate(), "decode": decode_rate()}


def run_llama_cpp(options):
    command = [sys.executable, __file__, "--measure", "--model", options.model, "--prompt", str(options.prompt),
               "--generate", str(options.generate), "--threads", str(options.threads)]
    return json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, timeout=600).stdout)


def run_lckv(options):
    def bench(what, prompt, generate, rate):
        command = [options.lckv, "bench", what, "--model", options.model, "--prompt", str(prompt), "--generate", str(generate),
                   "--repeats", "1", "--threads", str(options.threads), "--device", "cpu", "--json"]
        return json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, timeout=600).stdout)[rate]

    return {"encode": bench("encode", options.prompt, 2, "tokens_per_second"),
            "decode": bench("decode", SHORT_PROMPT, options.generate, "tokens_per_second")}


def report(samples, options):
    print(f"{pathlib.Path(options.model).name}, {options.threads} threads, {options.rounds} rounds; tokens/s, median [range]\n")
    print("| what | lckv | llama.cpp | lckv / llama.cpp |\n| --- | --- | --- | --- |")
    names = {"encode": f"encode {options.prompt}", "decode": f"decode {options.generate}, one stream"}
    for what, name in names.items():
        rates = {who: sorted(sample[what] for sample in samples[who]) for who in samples}
        medians = {who: statistics.median(rates[who]) for who in rates}
        cells = [f"{medians[who]:.1f} [{rates[who][0]:.1f}–{rates[who][-1]:.1f}]" for who in ("lckv", "llama.cpp")]
        print(f"| {name} | {cells[0]} | {cells[1]} | {medians['lckv'] / medians['llama.cpp']:.2f} |")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", required=True, help="a GGUF file that both load")
    parser.add_argument("--lckv", default=str(ROOT / "build" / "release" / "bin" / "lckv"))
    parser.add_argument("--prompt", type=int, default=512)
    parser.add_argument("--generate", type=int, default=128)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", metavar="FILE", help="every sample")
    parser.add_argument("--measure", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        print(json.dumps(measure_llama_cpp(options.model, options.prompt, options.generate, options.threads)))
        return
    runners = [("lckv", run_lckv), ("llama.cpp", run_llama_cpp)]
    samples = {who: [] for who, _ in runners}
    for round_number in range(options.rounds):
        for who, run in runners if round_number % 2 == 0 else reversed(runners):
            samples[who].append(run(options))
            print(f"round {round_number + 1}: {who} {samples[who][-1]}", file=sys.stderr)
    report(samples, options)
    if options.json:
        pathlib.Path(options.json).write_text(json.dumps({"options": vars(options), "samples": samples}, indent=1))


if __name__ == "__main__":
    main()
