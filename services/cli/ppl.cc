// `lckv ppl`: perplexity per token of a text file.

#include <cmath>
#include <cstdint>
#include <fstream>
#include <iostream>
#include <iterator>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "absl/types/span.h"
#include "base/status_macros.h"
#include "engine/tokenizer/tokenizer.h"
#include "services/cli/command.h"
#include "services/cli/evaluate_flags.h"
#include "services/cli/json_output.h"

namespace lckv {
namespace {

struct PplOptions {
  ModelFlags model;
  ComputeFlags compute;
  EncodeFlags encode;
  std::string text;
  int32_t context = 512;
};

absl::StatusOr<std::vector<int32_t>> ReadTokens(const PplOptions& options,
                                                const Checkpoint& checkpoint) {
  std::ifstream file(options.text, std::ios::binary);
  if (!file) return absl::NotFoundError(absl::StrCat(options.text, ": cannot be opened"));
  const std::string text((std::istreambuf_iterator<char>(file)), {});
  if (checkpoint.tokenizer_path().empty()) {
    return absl::FailedPreconditionError("the model has no tokenizer");
  }
  LCKV_ASSIGN_OR_RETURN(const std::unique_ptr<Tokenizer> tokenizer,
                        Tokenizer::Load(checkpoint.tokenizer_path()));
  return tokenizer->Encode(text, {.add_special = false, .parse_special = true});
}

// -log of the probability that `logits` give to `token`.
double NegativeLogLikelihood(absl::Span<const float> logits, int32_t token) {
  double largest = -INFINITY;
  for (float logit : logits) largest = std::max(largest, static_cast<double>(logit));
  double sum = 0;
  for (float logit : logits) sum += std::exp(static_cast<double>(logit) - largest);
  return largest + std::log(sum) - static_cast<double>(logits[static_cast<size_t>(token)]);
}

absl::Status RunPpl(const PplOptions& options) {
  LCKV_ASSIGN_OR_RETURN(LoadedEvaluator loaded, LoadEvaluator(options.model, options.compute,
                                                              options.encode, options.context));
  LCKV_ASSIGN_OR_RETURN(const std::vector<int32_t> tokens, ReadTokens(options, *loaded.checkpoint));
  LCKV_ASSIGN_OR_RETURN(const std::vector<SegmentRun> segments,
                        SegmentsOf(options.encode, options.context));
  // Windows of `context` tokens, each from nothing; each token's successor is predicted. What is
  // left over is dropped.
  const auto context = static_cast<size_t>(options.context);
  const size_t windows = tokens.empty() ? 0 : (tokens.size() - 1) / context;
  if (windows == 0) {
    return absl::InvalidArgumentError(absl::StrCat(
        options.text, ": ", tokens.size(), " tokens, fewer than one window of ", context + 1));
  }
  const absl::Time begin = absl::Now();
  double total = 0;
  float residual = 0;
  for (size_t window = 0; window < windows; ++window) {
    const auto inputs = absl::MakeConstSpan(tokens).subspan(window * context, context);
    const int32_t* targets = tokens.data() + window * context + 1;
    LCKV_ASSIGN_OR_RETURN(
        const Evaluator::Result result,
        loaded.evaluator->Evaluate(inputs, segments, loaded.passes,
                                   [&](int32_t position, absl::Span<const float> logits) {
                                     total += NegativeLogLikelihood(logits, targets[position]);
                                   }));
    residual = std::max(residual, result.residual);
  }
  std::cout << ToLine({{"ppl", std::exp(total / static_cast<double>(windows * context))},
                       {"tokens", tokens.size()},
                       {"windows", windows},
                       {"context", context},
                       {"encode", options.encode.encode},
                       {"passes", loaded.passes},
                       {"residual", residual},
                       {"seconds", absl::ToDoubleSeconds(absl::Now() - begin)}})
            << "\n";
  return absl::OkStatus();
}

}  // namespace

void AddPpl(CLI::App& tool, Action& chosen) {
  auto options = std::make_shared<PplOptions>();
  CLI::App* command =
      Declare(tool, "ppl", "Perplexity per token of a text file", options, &RunPpl, chosen);
  AddModelFlags(*command, options->model);
  AddComputeFlags(*command, options->compute);
  AddEncodeFlags(*command, options->encode);
  command->add_option("--text", options->text, "Text file; special token strings are parsed")
      ->required();
  command->add_option("--context", options->context, "Tokens of a window")
      ->check(CLI::Range(1, 1 << 20))
      ->capture_default_str();
}

}  // namespace lckv
