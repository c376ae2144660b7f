#include <cstring>
#include <random>

#include "absl/strings/str_cat.h"
#include "tests/conformance/case_data.h"
#include "tests/conformance/op_cases.h"

namespace lckv::testing {
namespace {

class Crc32cCase final : public OpCase {
 public:
  explicit Crc32cCase(const PagesSpec& spec) : spec_(spec) {
    std::mt19937 random(71);
    for (int64_t i = 0; i < int64_t{spec.pages} * stride(); ++i) words_.push_back(random());
  }

  std::string Describe() const override {
    return absl::StrCat("crc32c pages ", spec_.pages, " of ", spec_.words, " words");
  }
  int rows() const override { return spec_.pages; }

  // The values are the halves of each checksum: float32 holds them exactly.
  OpOutcome Run(Backend& backend, int begin, int end) const override {
    const DeviceArray words(backend, words_);
    std::vector<const void*> addresses;
    for (int page = begin; page < end; ++page) {
      addresses.push_back(words.as<uint32_t>() + int64_t{page} * stride());
    }
    const DeviceArray pages(backend, addresses);
    const GuardedOutput out(backend, std::vector<float>(addresses.size()));
    backend.Crc32c({pages.as<const void*>(), int64_t{spec_.words} * 4, end - begin,
                    reinterpret_cast<uint32_t*>(out.data())});
    OpOutcome outcome;
    for (const float value : out.Read(&outcome.stray_write)) {
      uint32_t bits;
      std::memcpy(&bits, &value, sizeof(bits));
      outcome.values.push_back(static_cast<float>(bits >> 16));
      outcome.values.push_back(static_cast<float>(bits & 0xffff));
    }
    return outcome;
  }

  std::vector<float> Tolerance() const override {
    return std::vector<float>(2 * static_cast<size_t>(spec_.pages), 0.0f);
  }

 private:
  int stride() const { return spec_.words + 1; }  // a word between two pages

  const PagesSpec spec_;
  std::vector<uint32_t> words_;
};

}  // namespace

std::unique_ptr<OpCase> MakeCrc32cCase(const PagesSpec& spec) {
  return std::make_unique<Crc32cCase>(spec);
}

}  // namespace lckv::testing
