#pragma once

#include <utility>
#include <vector>

#include "base/mutex.h"
#include "services/common/tracing/span.h"

namespace lckv {

// A sink that keeps spans in the order in which they ended.
class SpanRecorder final : public SpanSink {
 public:
  void Take(SpanData span) override {
    MutexLock lock(mu_);
    spans_.push_back(std::move(span));
  }
  std::vector<SpanData> spans() const {
    MutexLock lock(mu_);
    return spans_;
  }

 private:
  mutable Mutex mu_;
  std::vector<SpanData> spans_ ABSL_GUARDED_BY(mu_);
};

// The value of an attribute that is there once; null otherwise.
inline const AttributeValue* FindAttribute(const SpanData& span, absl::string_view key) {
  const AttributeValue* found = nullptr;
  for (const SpanData::Attribute& attribute : span.attributes) {
    if (attribute.key != key) continue;
    if (found != nullptr) return nullptr;
    found = &attribute.value;
  }
  return found;
}

template <typename T>
bool HasAttribute(const SpanData& span, absl::string_view key, const T& value) {
  const AttributeValue* found = FindAttribute(span, key);
  return found != nullptr && *found == AttributeValue(value);
}

}  // namespace lckv
