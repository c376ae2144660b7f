#include "cache/store/session_key.h"

#include <cstdint>

#include "base/check.h"
#include "cache/image/byte_order.h"
#include "cache/image/manifest.h"

namespace lckv {
namespace {

void AppendCounted(std::string& out, absl::string_view text) {
  LCKV_CHECK(text.size() <= kMaxNameBytes);
  out.push_back(static_cast<char>(text.size()));
  out.append(text.data(), text.size());
}

}  // namespace

std::string TenantPrefix(absl::string_view tenant) {
  std::string key;
  AppendCounted(key, tenant);
  return key;
}

std::string SessionKeyOf(const SessionName& name) {
  std::string key = TenantPrefix(name.tenant);
  key += name.session_id;
  return key;
}

std::string PagePrefix(const SessionName& name) {
  std::string key = TenantPrefix(name.tenant);
  AppendCounted(key, name.session_id);
  return key;
}

std::string PageKeyOf(const SessionName& name, const v1::PageEntry& page) {
  std::string key = PagePrefix(name);
  AppendBigEndian<uint32_t>(key, page.index());
  AppendBigEndian<uint32_t>(key, page.tokens());
  AppendBigEndian<uint32_t>(key, page.crc32c());
  return key;
}

}  // namespace lckv
