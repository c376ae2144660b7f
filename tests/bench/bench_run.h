#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>

#include "absl/status/status.h"
#include "engine/device/device.h"
#include "engine/plan/model_work.h"
#include "tests/bench/bench_plan.h"
#include "tests/bench/budget.h"
#include "tests/bench/machine_rates.h"

namespace lckv::bench {

using Json = nlohmann::ordered_json;

struct BenchOptions {
  DeviceOptions device;
  std::string weights = "bf16";
  std::string kv = "bf16";
  bool tiny = false;
  double budget_seconds = 300;
  int64_t memory_bytes = 0;  // for weights, KV and everything else; 0: what is free
  int64_t reserved_bytes = int64_t{2} << 30;
  int32_t step_tokens = 2048;
  int32_t max_batch = 1024;
  std::string filter;  // runs only groups whose "model/map" holds it
  std::string sheet;   // of engine/plan's devices; empty: by the driver's name
  std::string commit = "unknown";
  std::string out;  // JSON file, written anew after each group; empty: none
};

// Options, machine, data sheet and rooflines of a run, and what it has found so far.
struct BenchRun {
  BenchOptions options;
  MachineRates rates;
  std::optional<DeviceSpec> sheet;
  // The roofline of what was measured without the engine; where nothing was, of the sheet, else
  // without bound.
  DeviceSpec measured;
  WeightFormat format = WeightFormat::kBf16;
  Budget budget{0};
  Json cases = Json::array();
  Json skipped = Json::array();  // for want of time or memory
  Json failed = Json::array();   // by an error

  void Skip(const Group& group, const std::string& what, const std::string& reason);
  void Fail(const Group& group, const std::string& what, const absl::Status& status);
  // How `seconds` compare with the work's rooflines. Null: there is no sheet, or no such product
  // was measured.
  Json Compare(const Work& work, double seconds) const;
};

// Measures one group with an engine of its own.
void RunGroup(BenchRun& run, const Group& group);

// Throughput of rows with condensed maps over the full map's, beside the paper's ratios.
Json Ratios(const Json& cases);

// The run as one object, and as Markdown tables.
Json ReportOf(const BenchRun& run);
std::string TablesOf(const Json& report);

}  // namespace lckv::bench
