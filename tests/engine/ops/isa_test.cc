#include "engine/ops/cpu/isa.h"

#include <gtest/gtest.h>

#include <string>

#include "engine/ops/backend.h"
#include "tests/testing/status_matchers.h"

namespace lckv::cpu {
namespace {

using ::lckv::testing::StatusIs;
using ::testing::HasSubstr;

constexpr Isa kAll[] = {Isa::kGeneric, Isa::kAvx2, Isa::kAvx512};

TEST(IsaTest, ForcedChoiceIsKeptOrRefused) {
  for (Isa isa : kAll) {
    const auto chosen = ChooseIsa(Name(isa));
    if (IsSupported(isa)) {
      ASSERT_OK(chosen);
      EXPECT_EQ(*chosen, isa);
    } else {
      EXPECT_THAT(chosen, StatusIs(absl::StatusCode::kFailedPrecondition,
                                   HasSubstr(std::string(Name(isa)))));
    }
  }
}

TEST(IsaTest, DefaultIsTheBestThatTheMachineHas) {
  ASSERT_OK_AND_ASSIGN(const Isa best, ChooseIsa(""));
  EXPECT_TRUE(IsSupported(best));
  for (Isa isa : kAll) {
    EXPECT_FALSE(isa > best && IsSupported(isa)) << Name(isa);
  }
}

TEST(IsaTest, UnknownNamesAreRefused) {
  for (const char* name : {"AVX2", "sse", "avx", "avx2 "}) {
    EXPECT_THAT(ChooseIsa(name), StatusIs(absl::StatusCode::kInvalidArgument)) << name;
  }
}

TEST(IsaTest, BackendReportsItsChoice) {
  ASSERT_OK_AND_ASSIGN(const auto backend, MakeCpuBackend({.num_threads = 2, .isa = "generic"}));
  EXPECT_EQ(backend->description(), "CPU, generic, 2 threads");
  EXPECT_EQ(backend->numerics_class(), "cpu-f32fma-r1");
  EXPECT_THAT(MakeCpuBackend({.num_threads = 1, .isa = "neon"}),
              StatusIs(absl::StatusCode::kInvalidArgument));
  EXPECT_THAT(MakeCpuBackend({.num_threads = -1, .isa = ""}),
              StatusIs(absl::StatusCode::kInvalidArgument));
}

}  // namespace
}  // namespace lckv::cpu
