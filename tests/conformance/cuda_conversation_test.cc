// Whole engines on a GPU, in bf16: conversations held side by side are those held alone, bit by
// bit, in batches that are padded, recorded and replayed.

#include <gtest/gtest.h>

#include <memory>
#include <vector>

#include "tests/conformance/test_gpu.h"
#include "tests/engine/runtime/conversation.h"

namespace lckv {
namespace {

using namespace testing;  // NOLINT: the harness

class CudaConversationTest : public ::testing::TestWithParam<const char*> {
 protected:
  std::unique_ptr<Engine> MakeGpuEngine() {
    auto checkpoint = Checkpoint::Open(GoldenModelPath(GetParam()), {});
    EXPECT_OK(checkpoint);
    auto engine = Engine::Create(**checkpoint, OpenTestGpu(DType::kBf16), SmallOptions(), nullptr);
    EXPECT_OK(engine);
    return *std::move(engine);
  }
};

TEST_P(CudaConversationTest, SideBySideAsAlone) {
  std::vector<Script> scripts = Scripts();
  scripts.push_back({"another", {}, Seeded(23)});  // five at once: six rows
  for (Script& script : scripts) {
    script.inputs = {26, 5};
    script.answer_tokens = 6;
  }
  std::vector<Conversation> alone;
  const auto quiet = MakeGpuEngine();
  for (const Script& script : scripts) alone.push_back(HoldAlone(*quiet, script));
  const auto busy = MakeGpuEngine();
  const std::vector<Conversation> together = HoldAll(*busy, scripts, [](size_t) {});
  for (size_t i = 0; i < scripts.size(); ++i) ExpectSame(alone[i], together[i], scripts[i].name);
}

INSTANTIATE_TEST_SUITE_P(Maps, CudaConversationTest, ::testing::Values("odd-map", "yoco"),
                         [](const auto& info) {
                           std::string name = info.param;
                           for (char& c : name) {
                             if (c == '-') c = '_';
                           }
                           return name;
                         });

}  // namespace
}  // namespace lckv
