#include "services/common/trace_context.h"

#include <algorithm>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "services/common/ids.h"

namespace lckv {
namespace {

constexpr char kTraceparent[] = "traceparent";
constexpr size_t kTraceparentSize = 2 + 1 + 32 + 1 + 16 + 1 + 2;

bool IsLowerHex(absl::string_view text) {
  return std::all_of(text.begin(), text.end(),
                     [](char c) { return absl::ascii_isdigit(c) || (c >= 'a' && c <= 'f'); });
}

bool AllZero(absl::string_view text) {
  return std::all_of(text.begin(), text.end(), [](char c) { return c == '0'; });
}

int HexValue(char c) { return c <= '9' ? c - '0' : c - 'a' + 10; }

}  // namespace

TraceId RandomTraceId() {
  // The last bit is set because an all-zero id is not one.
  return TraceId(absl::StrFormat("%016x%016x", RandomU64(), RandomU64() | 1));
}

SpanId RandomSpanId() { return SpanId(absl::StrFormat("%016x", RandomU64() | 1)); }

std::optional<TraceContext> ParseTraceparent(absl::string_view header) {
  if (header.size() != kTraceparentSize || header.substr(0, 3) != "00-" || header[35] != '-' ||
      header[52] != '-') {
    return std::nullopt;
  }
  const absl::string_view trace_id = header.substr(3, 32);
  const absl::string_view span_id = header.substr(36, 16);
  const absl::string_view flags = header.substr(53, 2);
  if (!IsLowerHex(trace_id) || !IsLowerHex(span_id) || !IsLowerHex(flags) || AllZero(trace_id) ||
      AllZero(span_id)) {
    return std::nullopt;
  }
  return TraceContext{TraceId(trace_id), SpanId(span_id), (HexValue(flags[1]) & 1) != 0};
}

std::string FormatTraceparent(const TraceContext& trace) {
  if (trace.trace_id.empty() || trace.span_id.empty()) return "";
  return absl::StrCat("00-", trace.trace_id.view(), "-", trace.span_id.view(),
                      trace.sampled ? "-01" : "-00");
}

std::optional<TraceContext> ReadTraceparent(const grpc::ServerContextBase& context) {
  const auto found = context.client_metadata().find(kTraceparent);
  if (found == context.client_metadata().end()) return std::nullopt;
  return ParseTraceparent(absl::string_view(found->second.data(), found->second.size()));
}

void AddTraceparent(const TraceContext& trace, grpc::ClientContext* context) {
  const std::string header = FormatTraceparent(trace);
  if (!header.empty()) context->AddMetadata(kTraceparent, header);
}

}  // namespace lckv
