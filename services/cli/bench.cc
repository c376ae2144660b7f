// `lckv bench`: throughput and latency of the engine in this process, one JSON object on stdout.

#include <algorithm>
#include <cstdint>
#include <iostream>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "base/status_macros.h"
#include "engine/runtime/engine.h"
#include "services/cli/command.h"
#include "services/cli/evaluate_flags.h"
#include "services/cli/json_output.h"

namespace lckv {
namespace {

constexpr absl::Duration kEventTimeout = absl::Minutes(10);

struct BenchOptions {
  std::string what;
  ModelFlags model;
  ComputeFlags compute;
  int32_t prompt = 128;
  int32_t generate = 128;
  int32_t batch = 1;
  int32_t repeats = 3;
  bool json = false;
};

double Median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  const size_t middle = values.size() / 2;
  return values.size() % 2 == 1 ? values[middle] : (values[middle - 1] + values[middle]) / 2;
}

// Any valid ids will do: speed does not depend on them. A small multiplicative generator spreads
// them.
std::vector<int32_t> SyntheticPrompt(int32_t tokens, int32_t vocab, uint32_t seed) {
  std::vector<int32_t> prompt;
  uint64_t state = seed * uint64_t{2654435761} + 1;
  for (int32_t i = 0; i < tokens; ++i) {
    state = state * 6364136223846793005u + 1442695040888963407u;
    prompt.push_back(static_cast<int32_t>((state >> 33) % static_cast<uint64_t>(vocab)));
  }
  return prompt;
}

absl::StatusOr<TurnOutcome> WaitForOutcome(TurnStream& stream) {
  while (std::optional<TurnEvent> event = stream.PopWithTimeout(kEventTimeout)) {
    if (auto* outcome = std::get_if<TurnOutcome>(&*event)) {
      LCKV_RETURN_IF_ERROR(outcome->status);
      return *outcome;
    }
  }
  return absl::DeadlineExceededError("a turn did not end");
}

struct Sample {
  double encode_seconds = 0;  // until the last turn's first token
  double decode_seconds = 0;  // from there to the end
};

// `batch` turns at once, from nothing.
absl::StatusOr<Sample> RunOnce(Engine& engine, const BenchOptions& options) {
  std::vector<std::shared_ptr<TurnStream>> streams;
  const absl::Time begin = absl::Now();
  for (int32_t i = 0; i < options.batch; ++i) {
    TurnRequest turn;
    turn.session = absl::StrCat("bench-", i);
    turn.input =
        SyntheticPrompt(options.prompt, engine.config().vocab_size, static_cast<uint32_t>(i));
    turn.max_tokens = options.generate;
    LCKV_RETURN_IF_ERROR(engine.OpenSession(turn.session, {}, {}, nullptr));
    streams.push_back(
        std::make_shared<TurnStream>(static_cast<size_t>(options.generate) + 1, nullptr));
    LCKV_RETURN_IF_ERROR(engine.Submit(std::move(turn), streams.back()));
  }
  Sample sample;
  for (const auto& stream : streams) {
    LCKV_ASSIGN_OR_RETURN(const TurnOutcome outcome, WaitForOutcome(*stream));
    sample.encode_seconds =
        std::max(sample.encode_seconds, outcome.queue_seconds + outcome.encode_seconds);
  }
  sample.decode_seconds = absl::ToDoubleSeconds(absl::Now() - begin) - sample.encode_seconds;
  for (int32_t i = 0; i < options.batch; ++i) {
    LCKV_RETURN_IF_ERROR(engine.CloseSession(absl::StrCat("bench-", i)));
  }
  return sample;
}

absl::Status RunBench(const BenchOptions& options) {
  LCKV_ASSIGN_OR_RETURN(const std::unique_ptr<Checkpoint> checkpoint,
                        OpenCheckpoint(options.model));
  LCKV_ASSIGN_OR_RETURN(std::unique_ptr<Backend> backend, OpenDevice(options.compute.device));
  EngineOptions engine_options;
  engine_options.weight_format = options.compute.weights;
  LCKV_ASSIGN_OR_RETURN(engine_options.kv_dtype, ParseDType(options.compute.kv));
  engine_options.max_running_turns = options.batch;
  LCKV_ASSIGN_OR_RETURN(const PageLayout layout,
                        MakePageLayout(checkpoint->config(), engine_options.kv_dtype,
                                       engine_options.tokens_per_page));
  engine_options.kv_memory_bytes =
      layout.PagesFor(options.prompt + options.generate) * layout.page_bytes() * options.batch;
  LCKV_ASSIGN_OR_RETURN(const std::unique_ptr<Engine> engine,
                        Engine::Create(*checkpoint, std::move(backend), engine_options, nullptr));
  std::vector<double> encode, decode;
  for (int32_t repeat = 0; repeat <= options.repeats; ++repeat) {
    LCKV_ASSIGN_OR_RETURN(const Sample sample, RunOnce(*engine, options));
    if (repeat == 0) continue;  // warms caches up
    encode.push_back(sample.encode_seconds);
    decode.push_back(sample.decode_seconds);
  }
  const double encode_rate = options.prompt * options.batch / Median(encode);
  // The first token of each turn comes from encoding.
  const double decode_rate = (options.generate - 1) * options.batch / Median(decode);
  nlohmann::ordered_json report = {{"bench", options.what},
                                   {"engine", engine->description()},
                                   {"layer_map", engine->config().layer_map.ToString()},
                                   {"batch", options.batch},
                                   {"prompt", options.prompt},
                                   {"generate", options.generate},
                                   {"repeats", options.repeats},
                                   {"kv_bytes_per_token", layout.bytes_per_token()}};
  if (options.what == "encode") {
    report["tokens_per_second"] = encode_rate;
    report["seconds"] = encode;
  } else {
    report["tokens_per_second"] = decode_rate;
    report["encode_tokens_per_second"] = encode_rate;
    report["seconds"] = decode;
  }
  if (options.json) {
    std::cout << ToLine(report) << "\n";
  } else {
    std::cout << report.dump(2) << "\n";
  }
  return absl::OkStatus();
}

}  // namespace

void AddBench(CLI::App& tool, Action& chosen) {
  auto options = std::make_shared<BenchOptions>();
  CLI::App* command =
      Declare(tool, "bench", "Speed of the engine: decode or encode", options, &RunBench, chosen);
  command->add_option("what", options->what, "decode: tokens generated; encode: input tokens")
      ->required()
      ->check(CLI::IsMember({"decode", "encode"}));
  AddModelFlags(*command, options->model);
  AddComputeFlags(*command, options->compute);
  command->add_option("--prompt", options->prompt, "Input tokens of a turn")
      ->check(CLI::Range(1, 1 << 20))
      ->capture_default_str();
  command->add_option("--generate", options->generate, "Generated tokens of a turn")
      ->check(CLI::Range(2, 1 << 20))
      ->capture_default_str();
  command->add_option("--batch", options->batch, "Turns at once")
      ->check(CLI::Range(1, 4096))
      ->capture_default_str();
  command->add_option("--repeats", options->repeats, "Runs; the median counts")
      ->check(CLI::Range(1, 1000))
      ->capture_default_str();
  command->add_flag("--json", options->json, "One line instead of indented output");
}

}  // namespace lckv
