#include "cache/image/manifest.h"

#include <algorithm>
#include <string>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"

namespace lckv {
namespace {

template <typename... Parts>
absl::Status Invalid(const Parts&... parts) {
  return absl::InvalidArgumentError(absl::StrCat("manifest: ", parts...));
}

bool IsSessionIdCharacter(char c) {
  return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '.' ||
         c == '_' || c == '-';
}

bool IsPrintable(char c) { return c > 0x20 && c < 0x7f; }

absl::Status ValidateHeader(const v1::Manifest& manifest) {
  const uint32_t format = manifest.format_version();
  if (format < kOldestManifestFormatVersion || format > kManifestFormatVersion) {
    return absl::UnimplementedError(
        absl::StrCat("manifest: format_version ", format, " is not supported; this build reads ",
                     kOldestManifestFormatVersion, " to ", kManifestFormatVersion));
  }
  LCKV_RETURN_IF_ERROR(
      Annotate(ValidateSessionName(manifest.tenant(), manifest.session_id()), "manifest"));
  const bool blank = manifest.tokens().empty() && manifest.fingerprint().empty();
  if (!blank && manifest.fingerprint().size() != kFingerprintBytes) {
    return Invalid("fingerprint has ", manifest.fingerprint().size(), " bytes, not ",
                   kFingerprintBytes);
  }
  if (manifest.numerics_class().size() > kMaxNumericsClassBytes) {
    return Invalid("numerics_class is too long");
  }
  if (manifest.last_turn_id().size() > kMaxNameBytes) return Invalid("last_turn_id is too long");
  if (manifest.passes() > kMaxManifestPasses) return Invalid("passes is over ", kMaxManifestPasses);
  if (manifest.encode().passes() > kMaxManifestPasses)
    return Invalid("encode.passes is over ", kMaxManifestPasses);
  if (!v1::EncodePolicy::Mode_IsValid(manifest.encode().mode())) {
    return Invalid("encode.mode ", static_cast<int>(manifest.encode().mode()), " is unknown");
  }
  if (!v1::Durability_IsValid(manifest.durability())) {
    return Invalid("durability ", static_cast<int>(manifest.durability()), " is unknown");
  }
  if (!v1::FinishReason_IsValid(manifest.last_finish_reason())) {
    return Invalid("last_finish_reason ", static_cast<int>(manifest.last_finish_reason()),
                   " is unknown");
  }
  return absl::OkStatus();
}

absl::Status ValidateTranscript(const v1::Manifest& manifest) {
  const auto& tokens = manifest.tokens();
  if (tokens.size() > kMaxSessionTokens) return Invalid("over ", kMaxSessionTokens, " tokens");
  const auto negative = std::find_if(tokens.begin(), tokens.end(), [](int32_t t) { return t < 0; });
  if (negative != tokens.end()) {
    return Invalid("tokens[", negative - tokens.begin(), "] is ", *negative);
  }
  uint64_t covered = 0;
  for (int i = 0; i < manifest.segments_size(); ++i) {
    const uint32_t count = manifest.segments(i).tokens();
    if (count == 0) return Invalid("segments[", i, "] is empty");
    covered += count;
  }
  const auto token_count = static_cast<uint64_t>(tokens.size());
  if (covered != token_count) {
    return Invalid("segments cover ", covered, " of ", token_count, " tokens");
  }
  if (manifest.committed_tokens() > token_count) return Invalid("committed_tokens over tokens");
  if (manifest.kv_tokens() > token_count) return Invalid("kv_tokens over tokens");
  const uint64_t input_end =
      uint64_t{manifest.last_turn_begin()} + manifest.last_turn_input_tokens();
  if (input_end > manifest.committed_tokens()) {
    return Invalid("the last turn's input ends at ", input_end, ", after committed_tokens");
  }
  return absl::OkStatus();
}

absl::Status ValidatePage(const v1::Manifest& manifest, int position) {
  const v1::PageEntry& page = manifest.pages(position);
  const bool last = position + 1 == manifest.pages_size();
  if (page.index() != static_cast<uint32_t>(position)) {
    return Invalid("pages[", position, "].index is ", page.index());
  }
  const bool full = page.tokens() == manifest.tokens_per_page();
  const bool partial = page.tokens() > 0 && page.tokens() < manifest.tokens_per_page();
  if (!full && !(partial && last)) {
    return Invalid("pages[", position, "].tokens is ", page.tokens(), " of ",
                   manifest.tokens_per_page());
  }
  if (page.content_id().empty()) return absl::OkStatus();
  if (!full || page.content_id().size() != kContentIdBytes) {
    return Invalid("pages[", position, "].content_id has ", page.content_id().size(),
                   " bytes on a ", full ? "full" : "partial", " page");
  }
  return absl::OkStatus();
}

absl::Status ValidatePages(const v1::Manifest& manifest) {
  if (manifest.pages().empty()) {
    return manifest.kv_tokens() == 0 ? absl::OkStatus() : Invalid("kv_tokens without pages");
  }
  const uint32_t per_page = manifest.tokens_per_page();
  if (per_page < kMinTokensPerPage || per_page > kMaxTokensPerPage ||
      per_page % kMinTokensPerPage != 0) {
    return Invalid("tokens_per_page is ", per_page);
  }
  LCKV_RETURN_IF_ERROR(Annotate(ValidatePageBytes(manifest.page_bytes()), "manifest"));
  uint64_t held = 0;
  for (int i = 0; i < manifest.pages_size(); ++i) {
    LCKV_RETURN_IF_ERROR(ValidatePage(manifest, i));
    held += manifest.pages(i).tokens();
  }
  if (held != manifest.kv_tokens()) {
    return Invalid("pages hold ", held, " tokens, kv_tokens is ", manifest.kv_tokens());
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status ValidatePageBytes(uint64_t page_bytes) {
  if (page_bytes > 0 && page_bytes <= kMaxPageBytes && page_bytes % kPageAlignmentBytes == 0) {
    return absl::OkStatus();
  }
  return absl::InvalidArgumentError(absl::StrCat("page_bytes is ", page_bytes,
                                                 ": not a positive multiple of ",
                                                 kPageAlignmentBytes, " up to ", kMaxPageBytes));
}

absl::Status ValidateSessionName(absl::string_view tenant, absl::string_view session_id) {
  if (tenant.size() > kMaxNameBytes || !std::all_of(tenant.begin(), tenant.end(), IsPrintable)) {
    return absl::InvalidArgumentError("tenant: at most 128 printable characters, no spaces");
  }
  if (session_id.empty() || session_id.size() > kMaxNameBytes ||
      !std::all_of(session_id.begin(), session_id.end(), IsSessionIdCharacter)) {
    return absl::InvalidArgumentError("session_id: 1 to 128 of [A-Za-z0-9._-]");
  }
  return absl::OkStatus();
}

absl::Status ValidateWorkerId(absl::string_view field, absl::string_view worker_id) {
  if (!worker_id.empty() && worker_id.size() <= kMaxNameBytes &&
      std::all_of(worker_id.begin(), worker_id.end(), IsPrintable)) {
    return absl::OkStatus();
  }
  return absl::InvalidArgumentError(
      absl::StrCat(field, ": 1 to 128 printable characters, no spaces"));
}

absl::Status ValidateManifest(const v1::Manifest& manifest) {
  LCKV_RETURN_IF_ERROR(ValidateHeader(manifest));
  LCKV_RETURN_IF_ERROR(ValidateTranscript(manifest));
  return ValidatePages(manifest);
}

void TruncatePages(v1::Manifest& manifest, int first_page) {
  if (first_page >= manifest.pages_size()) return;
  uint32_t held = 0;
  for (int i = 0; i < first_page; ++i) held += manifest.pages(i).tokens();
  manifest.mutable_pages()->DeleteSubrange(first_page, manifest.pages_size() - first_page);
  manifest.set_kv_tokens(held);
}

}  // namespace lckv
