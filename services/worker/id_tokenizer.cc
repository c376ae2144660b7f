#include "services/worker/id_tokenizer.h"

#include <string>
#include <vector>

namespace lckv::worker {
namespace {

class IdTokenizer final : public Tokenizer {
 public:
  explicit IdTokenizer(int32_t vocab_size) : vocab_size_(vocab_size) {}

  absl::StatusOr<std::vector<int32_t>> Encode(absl::string_view /*text*/,
                                              const EncodeOptions& /*options*/) const override {
    return absl::FailedPreconditionError("the model has no tokenizer: send token ids");
  }
  absl::StatusOr<std::string> Decode(absl::Span<const int32_t> /*ids*/,
                                     bool /*skip_special*/) const override {
    return absl::FailedPreconditionError("the model has no tokenizer");
  }
  absl::string_view TokenBytes(int32_t /*id*/) const override { return ""; }
  bool IsSpecial(int32_t /*id*/) const override { return false; }
  int32_t FindToken(absl::string_view /*content*/) const override { return -1; }
  int32_t vocab_size() const override { return vocab_size_; }
  int32_t bos_token() const override { return -1; }
  std::vector<std::string> PreTokenize(absl::string_view /*text*/) const override { return {}; }

 private:
  const int32_t vocab_size_;
};

}  // namespace

std::unique_ptr<Tokenizer> MakeIdTokenizer(int32_t vocab_size) {
  return std::make_unique<IdTokenizer>(vocab_size);
}

}  // namespace lckv::worker
