#include "services/worker/hot_session.h"

namespace lckv::worker {

void HotSession::ForgetPagesFrom(int32_t tokens) {
  int64_t covered = 0;
  size_t kept = 0;
  for (const v1::PageEntry& page : stored_pages) {
    covered += page.tokens();
    if (covered > tokens) break;
    ++kept;
  }
  stored_pages.resize(kept);
}

}  // namespace lckv::worker
