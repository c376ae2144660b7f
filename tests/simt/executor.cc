#include "tests/simt/executor.h"

#include <cxxabi.h>

#include <algorithm>
#include <array>
#include <cstdlib>
#include <cstring>
#include <map>
#include <memory>
#include <utility>
#include <vector>

#include "tests/simt/fiber_pool.h"
#include "tests/simt/shared_memory.h"

namespace lckv::simt {

const ThreadView* running_thread = nullptr;

namespace {

constexpr int kMaxThreads = 1024;
constexpr size_t kCopyBytes = 16;

enum class State { kReady, kAtBarrier, kInWarpOperation, kDone };

struct Copy {
  const SharedArea* to;
  size_t offset;
  const void* from;  // null: zeros
  uint32_t group;
};

// What the lanes passed to one operation. The slowest of them may read it when others are
// operations ahead, so it lives until each has come to its next one.
struct Snapshot {
  int readers = 0;
  std::array<LaneWords, kWarpSize> words;
};

struct Thread {
  ThreadView view;
  State state = State::kDone;
  FiberPool::Worker* worker = nullptr;  // null: not begun
  int barrier_line = 0;
  WarpOperation operation;
  LaneWords words = {};  // for the operation
  size_t num_words = 0;
  Snapshot* snapshot = nullptr;  // of the last operation
  std::vector<Copy> copies;      // under way
  uint32_t copy_group = 0;       // of the next copy
};

struct Warp {
  uint32_t existing = 0;  // lanes
  uint32_t waiting = 0;   // lanes in an operation
  uint32_t epoch = 0;     // see Toucher
  std::vector<std::unique_ptr<Snapshot>> snapshots;

  Snapshot* FreeSnapshot() {
    for (const auto& snapshot : snapshots) {
      if (snapshot->readers == 0) return snapshot.get();
    }
    return snapshots.emplace_back(std::make_unique<Snapshot>()).get();
  }
};

std::string Demangled(const std::string& name) {
  int status = 0;
  char* text = abi::__cxa_demangle(name.c_str(), nullptr, nullptr, &status);
  const std::string result = status == 0 ? text : name;
  std::free(text);
  return result;
}

class Executor {
 public:
  static Executor& Get() {
    static Executor executor;
    return executor;
  }

  int Run(const std::string& kernel, const LaunchShape& shape, const std::function<void()>& body);
  const std::string& error() const { return error_; }
  void ClearError() { error_.clear(); }
  void SetSeed(uint64_t seed) { random_ = seed * 0x9e3779b97f4a7c15u + 1; }

  // The rest is called on a fiber; inline where threads wait most (see FiberPool).
  [[noreturn]] void Fail(const std::string& what);
  [[gnu::always_inline]] void SyncThreads(int line);
  void MaybeSwitch();
  [[gnu::always_inline]] const LaneWords* Exchange(const WarpOperation& operation,
                                                   const uint32_t* mine, size_t num_words);
  void SyncWarp(uint32_t lanes);
  const SharedArea& Shared(const void* tag, size_t bytes, size_t unit_bytes);
  void CheckAccess(const SharedArea& area, size_t offset, size_t size, Access access);
  void CopyAsync(const SharedArea& area, size_t offset, const void* from, bool valid);
  void CopyAsyncCommit() { ++thread().copy_group; }
  void CopyAsyncWait(uint32_t groups_under_way);

 private:
  Executor() : fibers_([this](int task) { return RunThread(task); }) {
    const char* seed = std::getenv("LCKV_SIMT_SEED");
    SetSeed(seed == nullptr ? 1 : std::strtoull(seed, nullptr, 10));
  }

  uint64_t Random(uint64_t bound);
  template <typename T>
  void Shuffle(std::vector<T>& values);

  bool IsPossible(const LaunchShape& shape);
  void StartBlock(const LaunchShape& shape, const Index3& block);
  void RunBlock();
  // On a fiber: all of a thread; then the next of the round if that one has not begun (or -1), so
  // that threads which never wait cost no switch.
  int RunThread(int thread);
  bool ReleaseBarrier();  // true: all threads were at it
  void ReleaseWarp(Warp& warp, uint32_t lanes);

  // On a fiber: others run until the thread is ready again.
  [[gnu::always_inline]] void Wait(State state);
  [[noreturn]] void FailForLanes(const WarpOperation& operation);
  void SetRunning(int thread);
  Thread& thread() { return threads_[static_cast<size_t>(running_)]; }
  Warp& warp() { return warps_[static_cast<size_t>(running_ / kWarpSize)]; }
  Thread& LaneOf(int lane) {
    return threads_[static_cast<size_t>(running_ / kWarpSize * kWarpSize + lane)];
  }

  void Record(const std::string& what);
  std::string Place(int thread) const;
  std::string Deadlock() const;

  uint64_t random_ = 1;
  std::string error_;
  std::string kernel_;
  const std::function<void()>* body_ = nullptr;

  FiberPool fibers_;
  std::vector<Thread> threads_;  // of the running block, as are those below
  std::vector<Warp> warps_;
  std::vector<int> round_;  // the threads that run now, in this order
  size_t next_in_round_ = 0;
  std::vector<int> ready_;  // … and those of the next round
  int running_ = 0;
  int at_barrier_ = 0;
  int done_ = 0;
  Index3 block_;
  SharedMemoryOfBlock shared_;
};

uint64_t Executor::Random(uint64_t bound) {
  random_ ^= random_ << 13;
  random_ ^= random_ >> 7;
  random_ ^= random_ << 17;
  return (random_ >> 32) * bound >> 32;  // bound: below 2^32
}

template <typename T>
void Executor::Shuffle(std::vector<T>& values) {
  for (size_t i = values.size(); i > 1; --i) std::swap(values[i - 1], values[Random(i)]);
}

bool Executor::IsPossible(const LaunchShape& shape) {
  const uint64_t threads = uint64_t{shape.block.x} * shape.block.y * shape.block.z;
  const uint64_t blocks = uint64_t{shape.grid.x} * shape.grid.y * shape.grid.z;
  if (threads == 0 || threads > kMaxThreads || shape.block.z > 64 || blocks == 0 ||
      blocks > 0x7fffffffu || shape.grid.y > 65535 || shape.grid.z > 65535) {
    Record("a launch of " + std::to_string(blocks) + " blocks of " + std::to_string(threads) +
           " threads");
    return false;
  }
  if (shape.dynamic_shared_bytes > kMaxDynamicSharedBytes) {
    Record("a launch with " + std::to_string(shape.dynamic_shared_bytes) +
           " bytes of dynamic shared memory");
    return false;
  }
  return true;
}

int Executor::Run(const std::string& kernel, const LaunchShape& shape,
                  const std::function<void()>& body) {
  if (!error_.empty()) return kError;
  kernel_ = Demangled(kernel);
  if (!IsPossible(shape)) return kError;
  body_ = &body;
  threads_.resize(size_t{shape.block.x} * shape.block.y * shape.block.z);
  warps_.resize((threads_.size() + kWarpSize - 1) / kWarpSize);

  std::vector<uint64_t> order(uint64_t{shape.grid.x} * shape.grid.y * shape.grid.z);
  for (uint64_t i = 0; i < order.size(); ++i) order[i] = i;
  Shuffle(order);
  for (const uint64_t i : order) {
    const auto x = static_cast<unsigned>(i % shape.grid.x);
    const auto y = static_cast<unsigned>(i / shape.grid.x % shape.grid.y);
    const auto z = static_cast<unsigned>(i / shape.grid.x / shape.grid.y);
    StartBlock(shape, {x, y, z});
    RunBlock();
    if (error_.empty()) continue;
    fibers_.Clear();  // unwinds what hangs in the middle
    break;
  }
  shared_.Clear();
  running_thread = nullptr;
  return error_.empty() ? kSuccess : kError;
}

void Executor::StartBlock(const LaunchShape& shape, const Index3& block) {
  block_ = block;
  shared_.StartBlock(shape.dynamic_shared_bytes);
  for (Warp& warp : warps_) {
    warp.existing = warp.waiting = 0;
    for (const auto& snapshot : warp.snapshots) snapshot->readers = 0;
  }
  ready_.clear();
  at_barrier_ = done_ = 0;
  for (size_t i = 0; i < threads_.size(); ++i) {
    Thread& thread = threads_[i];
    const auto n = static_cast<unsigned>(i);
    const Index3 index = {n % shape.block.x, n / shape.block.x % shape.block.y,
                          n / shape.block.x / shape.block.y};
    thread.view = {index, block, shape.block, shape.grid, static_cast<int>(i % kWarpSize)};
    thread.state = State::kReady;
    thread.worker = nullptr;
    thread.snapshot = nullptr;
    thread.copies.clear();
    thread.copy_group = 0;
    warps_[i / kWarpSize].existing |= 1u << (i % kWarpSize);
    ready_.push_back(static_cast<int>(i));
  }
}

void Executor::RunBlock() {
  while (!ready_.empty() || ReleaseBarrier()) {
    round_.swap(ready_);
    ready_.clear();
    Shuffle(round_);
    next_in_round_ = 0;
    while (next_in_round_ < round_.size()) {
      const int next = round_[next_in_round_++];
      FiberPool::Worker* const worker = threads_[static_cast<size_t>(next)].worker;
      if (worker == nullptr) {
        fibers_.Start(next);
      } else {
        SetRunning(next);
        fibers_.Resume(worker);
      }
      if (!error_.empty()) return;
    }
  }
  if (error_.empty() && done_ != static_cast<int>(threads_.size())) Record(Deadlock());
}

int Executor::RunThread(int i) {
  SetRunning(i);
  thread().worker = fibers_.running();
  (*body_)();
  Thread& ended = thread();
  ended.state = State::kDone;
  ++done_;
  if (next_in_round_ == round_.size()) return -1;
  const int next = round_[next_in_round_];
  if (threads_[static_cast<size_t>(next)].worker != nullptr) return -1;
  ++next_in_round_;
  return next;
}

void Executor::SetRunning(int i) {
  running_ = i;
  running_thread = &threads_[static_cast<size_t>(i)].view;
}

inline void Executor::Wait(State state) {
  thread().state = state;
  fibers_.Suspend();
}

inline void Executor::SyncThreads(int line) {
  thread().barrier_line = line;
  ++at_barrier_;
  Wait(State::kAtBarrier);
}

bool Executor::ReleaseBarrier() {
  if (at_barrier_ != static_cast<int>(threads_.size())) return false;
  for (size_t i = 0; i < threads_.size(); ++i) {
    if (threads_[i].barrier_line != threads_[0].barrier_line) {
      Record("threads are at different barriers: " + Place(0) + " in line " +
             std::to_string(threads_[0].barrier_line) + ", " + Place(static_cast<int>(i)) +
             " in line " + std::to_string(threads_[i].barrier_line));
      return false;
    }
    threads_[i].state = State::kReady;
    ready_.push_back(static_cast<int>(i));
  }
  at_barrier_ = 0;
  shared_.Barrier();
  return true;
}

void Executor::MaybeSwitch() {
  if (Random(2) == 0) return;
  ready_.push_back(running_);
  Wait(State::kReady);
}

void Executor::FailForLanes(const WarpOperation& operation) {
  const bool others = (operation.lanes >> Lane() & 1u) == 0;
  Fail(std::string("calls ") + operation.name +
       (others ? " for other lanes than its own" : " for lanes that the block does not have"));
}

inline const LaneWords* Executor::Exchange(const WarpOperation& operation, const uint32_t* mine,
                                           size_t num_words) {
  if ((operation.lanes >> Lane() & 1u) == 0 || (operation.lanes & ~warp().existing) != 0) {
    FailForLanes(operation);
  }
  Thread& self = thread();
  if (self.snapshot != nullptr) --self.snapshot->readers;
  self.snapshot = nullptr;
  self.operation = operation;
  std::copy_n(mine, num_words, self.words.begin());
  self.num_words = num_words;
  warp().waiting |= 1u << Lane();
  bool together = (operation.lanes & ~warp().waiting) == 0;
  for (int other = 0; other < kWarpSize && together; ++other) {
    if ((operation.lanes >> other & 1u) == 0) continue;
    const WarpOperation& theirs = LaneOf(other).operation;
    together = theirs.lanes == operation.lanes && theirs.detail == operation.detail &&
               (theirs.name == operation.name || std::strcmp(theirs.name, operation.name) == 0);
  }
  if (together) ReleaseWarp(warp(), operation.lanes);
  Wait(together ? State::kReady : State::kInWarpOperation);
  return self.snapshot->words.data();
}

void Executor::ReleaseWarp(Warp& warp, uint32_t lanes) {
  Snapshot* const snapshot = warp.FreeSnapshot();
  const int first = running_ / kWarpSize * kWarpSize;
  for (int lane = 0; lane < kWarpSize; ++lane) {
    if ((lanes >> lane & 1u) == 0) continue;
    Thread& thread = LaneOf(lane);
    std::copy_n(thread.words.begin(), thread.num_words,
                snapshot->words[static_cast<size_t>(lane)].begin());
    ++snapshot->readers;
    thread.snapshot = snapshot;
    thread.state = State::kReady;
    ready_.push_back(first + lane);
  }
  warp.waiting &= ~lanes;
}

void Executor::SyncWarp(uint32_t lanes) {
  const bool whole = lanes == warp().existing;
  const uint32_t next_epoch = warp().epoch + 1;
  Exchange({"__syncwarp", lanes, 0}, nullptr, 0);
  // The first to go on says for all that a new epoch has begun.
  if (whole) warp().epoch = next_epoch;
}

const SharedArea& Executor::Shared(const void* tag, size_t bytes, size_t unit_bytes) {
  const SharedArea* const area = shared_.Find(tag, bytes, unit_bytes);
  if (area == nullptr) Fail("uses shared memory in smaller units than those it is declared in");
  return *area;
}

void Executor::CheckAccess(const SharedArea& area, size_t offset, size_t size, Access access) {
  const int warp = running_ / kWarpSize;
  const Toucher by = {running_, warp, warps_[static_cast<size_t>(warp)].epoch};
  const SharedMemoryOfBlock::Fault fault = shared_.Check(area, offset, size, access, by);
  if (fault == SharedMemoryOfBlock::Fault::kNone) return;
  Fail(SharedMemoryOfBlock::Describe(fault, area, offset, access));
}

void Executor::CopyAsync(const SharedArea& area, size_t offset, const void* from, bool valid) {
  CheckAccess(area, offset, kCopyBytes, Access::kWrite);
  shared_.SetUnderWay(area, offset, true);
  thread().copies.push_back({&area, offset, valid ? from : nullptr, thread().copy_group});
}

void Executor::CopyAsyncWait(uint32_t groups_under_way) {
  std::vector<Copy>& copies = thread().copies;
  const uint32_t committed = thread().copy_group;
  const auto waits = [=](const Copy& copy) { return committed - copy.group > groups_under_way; };
  for (const Copy& copy : copies) {
    if (!waits(copy)) continue;
    shared_.SetUnderWay(*copy.to, copy.offset, false);
    CheckAccess(*copy.to, copy.offset, kCopyBytes, Access::kWrite);
    unsigned char* const to = copy.to->data + copy.offset;
    if (copy.from == nullptr) {
      std::memset(to, 0, kCopyBytes);
    } else {
      std::memcpy(to, copy.from, kCopyBytes);
    }
  }
  copies.erase(std::remove_if(copies.begin(), copies.end(), waits), copies.end());
}

std::string Executor::Place(int thread) const {
  const Index3& at = threads_[static_cast<size_t>(thread)].view.thread_idx;
  const auto text = [](const Index3& index) {
    return "(" + std::to_string(index.x) + "," + std::to_string(index.y) + "," +
           std::to_string(index.z) + ")";
  };
  return "block " + text(block_) + " thread " + text(at);
}

std::string Executor::Deadlock() const {
  std::map<std::string, std::pair<int, int>> waiting;  // what: how many, the first
  for (int i = static_cast<int>(threads_.size()) - 1; i >= 0; --i) {
    const Thread& thread = threads_[static_cast<size_t>(i)];
    std::string what = "ended";
    if (thread.state == State::kAtBarrier) {
      what = "at a barrier in line " + std::to_string(thread.barrier_line);
    } else if (thread.state == State::kInWarpOperation) {
      what = std::string("in a warp operation, ") + thread.operation.name;
    }
    auto& [count, first] = waiting[what];
    ++count;
    first = i;
  }
  std::string text = "threads wait for others that never come:";
  for (const auto& [what, threads] : waiting) {
    text += " " + std::to_string(threads.first) + " " + what + " (" + Place(threads.second) + ")";
  }
  return text;
}

void Executor::Record(const std::string& what) {
  if (error_.empty()) error_ = kernel_ + ": " + what;
}

void Executor::Fail(const std::string& what) {
  Record(Place(running_) + " " + what);
  while (true) Wait(State::kAtBarrier);  // until it is unwound
}

}  // namespace

int RunKernel(const std::string& kernel, const LaunchShape& shape,
              const std::function<void()>& body) {
  return Executor::Get().Run(kernel, shape, body);
}
const std::string& LastError() { return Executor::Get().error(); }
void ClearError() { Executor::Get().ClearError(); }
void SetSeed(uint64_t seed) { Executor::Get().SetSeed(seed); }
void Fail(const std::string& what) { Executor::Get().Fail(what); }
void SyncThreads(int line) { Executor::Get().SyncThreads(line); }
void MaybeSwitch() { Executor::Get().MaybeSwitch(); }
const LaneWords* Exchange(const WarpOperation& operation, const uint32_t* mine, size_t num_words) {
  return Executor::Get().Exchange(operation, mine, num_words);
}
void SyncWarp(uint32_t lanes) { Executor::Get().SyncWarp(lanes); }
uint32_t ShuffleXorBits(uint32_t value, int distance) {
  if (distance < 0 || distance >= kWarpSize) Fail("shuffles by " + std::to_string(distance));
  const LaneWords* const all = Exchange({"ShuffleXor", 0xffffffffu, distance}, &value, 1);
  return all[Lane() ^ distance][0];
}
const SharedArea& SharedMemory(const void* tag, size_t bytes, size_t unit_bytes) {
  return Executor::Get().Shared(tag, bytes, unit_bytes);
}
void CheckAccess(const SharedArea& area, size_t offset, size_t size, Access access) {
  Executor::Get().CheckAccess(area, offset, size, access);
}
void CopyAsync(const SharedArea& area, size_t offset, const void* from, bool valid) {
  Executor::Get().CopyAsync(area, offset, from, valid);
}
void CopyAsyncCommit() { Executor::Get().CopyAsyncCommit(); }
void CopyAsyncWait(uint32_t groups_under_way) { Executor::Get().CopyAsyncWait(groups_under_way); }

}  // namespace lckv::simt
