// `lckv logits`: every token's logits to a file, for comparing with other implementations.

#include <cstdint>
#include <fstream>
#include <iostream>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "base/status_macros.h"
#include "services/cli/command.h"
#include "services/cli/evaluate_flags.h"
#include "services/cli/json_output.h"
#include "services/cli/token_file.h"

namespace lckv {
namespace {

struct LogitsOptions {
  ModelFlags model;
  ComputeFlags compute;
  EncodeFlags encode;
  std::string tokens_file;
  std::string out;
};

absl::Status RunLogits(const LogitsOptions& options) {
  LCKV_ASSIGN_OR_RETURN(const std::vector<int32_t> tokens, ReadTokenFile(options.tokens_file));
  const auto n_tokens = static_cast<int32_t>(tokens.size());
  LCKV_ASSIGN_OR_RETURN(const std::vector<SegmentRun> segments,
                        SegmentsOf(options.encode, n_tokens));
  LCKV_ASSIGN_OR_RETURN(LoadedEvaluator loaded,
                        LoadEvaluator(options.model, options.compute, options.encode, n_tokens));
  const auto vocab = static_cast<int64_t>(loaded.checkpoint->config().vocab_size);
  const int64_t row_bytes = vocab * int64_t{sizeof(float)};
  std::ofstream out(options.out, std::ios::binary | std::ios::trunc);
  if (!out) return absl::NotFoundError(absl::StrCat(options.out, ": cannot be written"));

  const absl::Time begin = absl::Now();
  LCKV_ASSIGN_OR_RETURN(
      const Evaluator::Result result,
      loaded.evaluator->Evaluate(tokens, segments, loaded.passes,
                                 [&](int32_t position, absl::Span<const float> row) {
                                   out.seekp(position * row_bytes);
                                   out.write(reinterpret_cast<const char*>(row.data()), row_bytes);
                                 }));
  const double seconds = absl::ToDoubleSeconds(absl::Now() - begin);
  out.close();
  if (!out) return absl::DataLossError(absl::StrCat(options.out, ": writing failed"));
  std::cout << ToLine({{"n_tokens", n_tokens},
                       {"vocab", vocab},
                       {"passes", result.passes},
                       {"residual", result.residual},
                       {"seconds", seconds}})
            << "\n";
  return absl::OkStatus();
}

}  // namespace

void AddLogits(CLI::App& tool, Action& chosen) {
  auto options = std::make_shared<LogitsOptions>();
  CLI::App* command = Declare(tool, "logits", "Logits of every token of a list, float32 [n][vocab]",
                              options, &RunLogits, chosen);
  AddModelFlags(*command, options->model);
  AddComputeFlags(*command, options->compute);
  AddEncodeFlags(*command, options->encode);
  command->add_option("--tokens-file", options->tokens_file, "JSON file: {\"tokens\": […]}")
      ->required();
  command->add_option("--out", options->out, "Output file")->required();
}

}  // namespace lckv
