// `lckv bench`: throughput and latency of the engine in this process, one JSON object on stdout.

#include <cstdint>
#include <iostream>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "base/status_macros.h"
#include "engine/bench/workload.h"
#include "engine/runtime/engine.h"
#include "services/cli/command.h"
#include "services/cli/evaluate_flags.h"
#include "services/cli/json_output.h"

namespace lckv {
namespace {

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

absl::Status RunBench(const BenchOptions& options) {
  LCKV_ASSIGN_OR_RETURN(const std::unique_ptr<Checkpoint> checkpoint,
                        OpenCheckpoint(options.model));
  LCKV_ASSIGN_OR_RETURN(std::unique_ptr<Backend> backend, OpenDevice(options.compute.device));
  EngineOptions engine_options;
  engine_options.weight_format = options.compute.weights;
  engine_options.device_layers = options.compute.device_layers;
  engine_options.layer0_table = options.compute.layer0_table;
  LCKV_ASSIGN_OR_RETURN(engine_options.kv_dtype, ParseDType(options.compute.kv));
  engine_options.max_running_turns = options.batch;
  engine_options.max_waiting_turns = options.batch;
  LCKV_ASSIGN_OR_RETURN(const PageLayout layout,
                        MakePageLayout(checkpoint->config(), engine_options.kv_dtype,
                                       engine_options.tokens_per_page));
  engine_options.kv_memory_bytes =
      layout.PagesFor(options.prompt + options.generate) * layout.page_bytes() * options.batch;
  LCKV_ASSIGN_OR_RETURN(const std::unique_ptr<Engine> engine,
                        Engine::Create(*checkpoint, std::move(backend), engine_options, nullptr));
  FreshTurns fresh;
  fresh.prompt = options.prompt;
  fresh.generate = options.generate;
  fresh.batch = options.batch;
  std::vector<double> encode, decode;
  for (int32_t repeat = 0; repeat <= options.repeats; ++repeat) {
    LCKV_ASSIGN_OR_RETURN(const TurnTimes times, RunFresh(*engine, fresh));
    if (repeat == 0) continue;  // warms caches up
    encode.push_back(times.encode_seconds);
    decode.push_back(times.seconds - times.encode_seconds);
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
