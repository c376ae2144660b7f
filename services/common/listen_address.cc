#include "services/common/listen_address.h"

#include <algorithm>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"

namespace lckv {

absl::StatusOr<ListenAddress> ParseListenAddress(absl::string_view text) {
  const size_t colon = text.rfind(':');
  if (colon == absl::string_view::npos || colon == 0) {
    return absl::InvalidArgumentError(absl::StrCat("address '", text, "': want host:port"));
  }
  const absl::string_view host = text.substr(0, colon);
  const bool bracketed = host.size() > 2 && host.front() == '[' && host.back() == ']';
  const absl::string_view inner = bracketed ? host.substr(1, host.size() - 2) : host;
  if (absl::StrContains(inner, ":") != bracketed || inner.find_first_of("[]") != inner.npos) {
    return absl::InvalidArgumentError(
        absl::StrCat("address '", text, "': a v6 address is written [address]:port"));
  }
  const absl::string_view digits = text.substr(colon + 1);
  uint32_t port = 0;
  // SimpleAtoi takes spaces and a sign.
  if (!std::all_of(digits.begin(), digits.end(), absl::ascii_isdigit) ||
      !absl::SimpleAtoi(digits, &port) || port > 65535) {
    return absl::InvalidArgumentError(absl::StrCat("address '", text, "': bad port"));
  }
  return ListenAddress{std::string(host), static_cast<uint16_t>(port)};
}

}  // namespace lckv
