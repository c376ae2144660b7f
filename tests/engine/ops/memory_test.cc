#include <gtest/gtest.h>

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <memory>
#include <utility>
#include <vector>

#include "engine/ops/backend.h"
#include "engine/ops/host_memory.h"
#include "tests/testing/status_matchers.h"

namespace lckv {
namespace {

using ::lckv::testing::StatusIs;

void CountFree(void* context, void* /*data*/) { ++*static_cast<int*>(context); }

TEST(DeviceBufferTest, IsFreedOnce) {
  int frees = 0;
  int memory = 0;
  {
    DeviceBuffer a(&memory, sizeof(memory), &CountFree, &frees);
    DeviceBuffer b(std::move(a));
    EXPECT_EQ(a.data(), nullptr);
    EXPECT_EQ(b.data(), &memory);
    DeviceBuffer c;
    c = std::move(b);
    EXPECT_EQ(c.size_bytes(), sizeof(memory));
    EXPECT_EQ(frees, 0);
  }
  EXPECT_EQ(frees, 1);
}

TEST(DeviceBufferTest, AssignmentFreesWhatWasThere) {
  int frees_a = 0;
  int frees_b = 0;
  int memory = 0;
  DeviceBuffer a(&memory, 4, &CountFree, &frees_a);
  DeviceBuffer b(&memory, 4, &CountFree, &frees_b);
  a = std::move(b);
  EXPECT_EQ(frees_a, 1);
  EXPECT_EQ(frees_b, 0);
  a.Reset();
  EXPECT_EQ(frees_b, 1);
  a.Reset();
  EXPECT_EQ(frees_b, 1);
}

TEST(HostMemoryTest, IsZeroedAndAligned) {
  for (size_t size : {size_t{0}, size_t{1}, size_t{63}, size_t{65}, size_t{64} << 10,
                      size_t{100000}, (size_t{4} << 20) + 1}) {
    ASSERT_OK_AND_ASSIGN(const DeviceBuffer buffer, AllocateHostMemory(size));
    EXPECT_EQ(buffer.size_bytes(), size);
    const size_t alignment = size >= (size_t{64} << 10) ? 4096 : 64;
    EXPECT_EQ(reinterpret_cast<uintptr_t>(buffer.data()) % alignment, 0u) << size;
    EXPECT_EQ(std::count(buffer.bytes(), buffer.bytes() + size, 0), static_cast<long>(size));
  }
}

TEST(HostMemoryTest, RefusesWhatCannotBe) {
  for (size_t size : {SIZE_MAX, SIZE_MAX / 2, SIZE_MAX - 4096}) {
    EXPECT_THAT(AllocateHostMemory(size), StatusIs(absl::StatusCode::kResourceExhausted));
  }
}

TEST(HostBackendsTest, CopyThereAndBack) {
  ASSERT_OK_AND_ASSIGN(const auto cpu, MakeCpuBackend({.num_threads = 1, .isa = ""}));
  const std::unique_ptr<Backend> reference = MakeReferenceBackend();
  for (Backend* backend : {cpu.get(), reference.get()}) {
    std::vector<int32_t> sent = {1, -2, 3};
    std::vector<int32_t> received(3);
    ASSERT_OK_AND_ASSIGN(const DeviceBuffer buffer, backend->Allocate(12));
    backend->CopyToDevice(buffer.data(), sent.data(), 12);
    backend->CopyToHost(received.data(), buffer.data(), 12);
    EXPECT_EQ(sent, received);
    backend->CopyToDevice(nullptr, nullptr, 0);
    EXPECT_OK(backend->Synchronize());
  }
}

}  // namespace
}  // namespace lckv
