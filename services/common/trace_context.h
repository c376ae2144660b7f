#pragma once

#include <grpcpp/grpcpp.h>

#include <algorithm>
#include <array>
#include <optional>
#include <string>

#include "absl/strings/string_view.h"
#include "base/check.h"

namespace lckv {

// An id in lower-case hexadecimal digits, or none. Copying it allocates nothing.
template <size_t kDigits>
class HexId {
 public:
  HexId() = default;
  // REQUIRES: kDigits digits.
  explicit HexId(absl::string_view digits) {
    LCKV_CHECK(digits.size() == kDigits);
    std::copy(digits.begin(), digits.end(), digits_.begin());
  }

  bool empty() const { return digits_[0] == '\0'; }
  absl::string_view view() const { return {digits_.data(), empty() ? 0 : kDigits}; }
  operator absl::string_view() const { return view(); }  // NOLINT: it is one
  friend bool operator==(const HexId& a, absl::string_view b) { return a.view() == b; }
  friend bool operator==(const HexId& a, const HexId& b) { return a.digits_ == b.digits_; }

 private:
  std::array<char, kDigits> digits_{};
};
using TraceId = HexId<32>;
using SpanId = HexId<16>;

// Random ones; never all zero.
TraceId RandomTraceId();
SpanId RandomSpanId();

// One hop of a distributed trace (W3C Trace Context, version 00). `trace_id` goes into log lines as
// "trace"; `span_id` becomes the next hop's parent. Neither is all zero; both are empty outside of
// any trace, and `span_id` is where a trace begins.
struct TraceContext {
  TraceId trace_id;
  SpanId span_id;
  bool sampled = false;
};

// The caller's position in its trace: "00-<trace id>-<span id>-<flags>". Nothing when malformed.
std::optional<TraceContext> ParseTraceparent(absl::string_view header);
// "" outside of a trace.
std::string FormatTraceparent(const TraceContext& trace);

// The call's "traceparent" metadata; nothing when there is none or it is malformed.
std::optional<TraceContext> ReadTraceparent(const grpc::ServerContextBase& context);
// Sends `trace` to the next hop; outside of a trace, nothing. Call once, before the call starts.
void AddTraceparent(const TraceContext& trace, grpc::ClientContext* context);

}  // namespace lckv
