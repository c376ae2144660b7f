#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <vector>

#include "engine/ops/backend.h"
#include "engine/ops/cpu/isa.h"
#include "tests/conformance/backend_checks.h"
#include "tests/conformance/op_cases.h"
#include "tests/testing/status_matchers.h"

namespace lckv::testing {
namespace {

std::unique_ptr<Backend> MakeCpu(const std::string& isa, int threads) {
  auto backend = MakeCpuBackend({threads, isa});
  EXPECT_OK(backend);
  return *std::move(backend);
}

std::vector<std::string> SupportedIsas() {
  std::vector<std::string> names;
  for (cpu::Isa isa : {cpu::Isa::kGeneric, cpu::Isa::kAvx2, cpu::Isa::kAvx512}) {
    if (cpu::IsSupported(isa)) names.emplace_back(cpu::Name(isa));
  }
  return names;
}

TEST(CpuConformanceTest, AgreesWithReference) { ExpectAgreesWithReference(*MakeCpu("", 1)); }

TEST(CpuConformanceTest, InstructionSetsGiveTheSameBits) {
  const std::unique_ptr<Backend> generic = MakeCpu("generic", 1);
  std::vector<std::unique_ptr<Backend>> others;
  for (const std::string& isa : SupportedIsas()) others.push_back(MakeCpu(isa, 1));
  for (const auto& op_case : AllOpCases(DType::kF32)) {
    const OpOutcome expected = RunAll(*op_case, *generic);
    for (const auto& other : others) {
      EXPECT_EQ(other->numerics_class(), generic->numerics_class());
      ExpectSameBits(op_case->Describe() + " on " + other->description(), expected.values,
                     RunAll(*op_case, *other).values);
    }
  }
}

TEST(CpuConformanceTest, ThreadsDoNotChangeBits) {
  const std::unique_ptr<Backend> one = MakeCpu("", 1);
  const std::unique_ptr<Backend> two = MakeCpu("", 2);
  const std::unique_ptr<Backend> three = MakeCpu("", 3);
  for (const auto& op_case : AllOpCases(DType::kF32)) {
    const OpOutcome expected = RunAll(*op_case, *one);
    for (Backend* other : {two.get(), three.get()}) {
      ExpectSameBits(op_case->Describe() + " on " + other->description(), expected.values,
                     RunAll(*op_case, *other).values);
    }
  }
}

TEST(CpuConformanceTest, BatchDoesNotChangeBits) { ExpectBatchDoesNotChangeBits(*MakeCpu("", 1)); }

TEST(CpuConformanceTest, RopeAndStoreIsItsParts) { ExpectRopeAndStoreIsItsParts(*MakeCpu("", 2)); }

TEST(CpuConformanceTest, PagesDoNotChangeAttention) {
  ExpectPagesDoNotChangeAttention(*MakeCpu("", 1), 1);
}

}  // namespace
}  // namespace lckv::testing
