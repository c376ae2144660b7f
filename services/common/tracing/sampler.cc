#include "services/common/tracing/sampler.h"

#include <cmath>
#include <cstdint>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "base/check.h"

namespace lckv {

bool Sampler::Sample(const TraceContext* parent, const TraceId& trace_id) const {
  if (parent_based && parent != nullptr) return parent->sampled;
  if (ratio >= 1) return true;
  // The last 8 bytes, without their lowest bit, are the random number, as in other languages'
  // implementations: a trace sampled by one of them at a ratio is sampled here too.
  uint64_t low = 0;
  LCKV_CHECK(absl::SimpleHexAtoi(trace_id.view().substr(16), &low));
  return static_cast<double>(low >> 1) < std::ldexp(ratio, 63);
}

absl::StatusOr<Sampler> ParseSampler(absl::string_view name, absl::string_view argument) {
  Sampler sampler;
  if (name.empty()) return sampler;
  absl::string_view root = name;
  sampler.parent_based = absl::ConsumePrefix(&root, "parentbased_");
  if (root == "always_on") return sampler;
  if (root == "always_off") {
    sampler.ratio = 0;
    return sampler;
  }
  if (root != "traceidratio") {
    return absl::InvalidArgumentError(
        absl::StrCat("OTEL_TRACES_SAMPLER=", name,
                     ": not one of [parentbased_]always_on, always_off, traceidratio"));
  }
  if (argument.empty()) return sampler;
  if (!absl::SimpleAtod(argument, &sampler.ratio) || !(sampler.ratio >= 0 && sampler.ratio <= 1)) {
    return absl::InvalidArgumentError(
        absl::StrCat("OTEL_TRACES_SAMPLER_ARG=", argument, ": want a ratio between 0 and 1"));
  }
  return sampler;
}

}  // namespace lckv
