#pragma once

#include <cstdint>

#include "absl/status/status.h"
#include "absl/time/time.h"

namespace lckv {

// What the cache node's core tells whoever counts (the service turns it into metrics). Methods are
// called from many threads and must be quick. The default is deaf.
class CacheObserver {
 public:
  enum class CrcSite { kCommit, kLoad };  // a page as written by a worker; a page read from storage

  virtual ~CacheObserver() = default;
  virtual void OnCommit(const absl::Status& outcome) { (void)outcome; }
  virtual void OnSync(absl::Duration write_and_sync) { (void)write_and_sync; }
  virtual void OnChecksumFailure(CrcSite site) { (void)site; }
  virtual void OnLeaseConflict() {}
  virtual void OnEviction(uint64_t bytes) { (void)bytes; }
  virtual void OnPageLookup(bool in_memory) { (void)in_memory; }
};

}  // namespace lckv
