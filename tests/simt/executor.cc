#include "tests/simt/executor.h"

#include <cxxabi.h>

#include <algorithm>
#include <boost/context/fiber.hpp>
#include <boost/context/protected_fixedsize_stack.hpp>
#include <cstdlib>
#include <cstring>
#include <map>
#include <memory>
#include <utility>
#include <vector>

namespace lckv::simt {
namespace {

namespace context = boost::context;

constexpr size_t kStackBytes = size_t{128} << 10;
constexpr int kMaxThreads = 1024;
constexpr int kNobody = -1;
constexpr int kSeveral = -2;

// Who touched 4 bytes of shared memory since the last barrier.
struct Cell {
  uint32_t read_epoch = 0, write_epoch = 0;
  int reader = kNobody, writer = kNobody;
};

struct SharedBlock {
  std::unique_ptr<unsigned char[]> data;
  std::vector<Cell> cells;
  size_t bytes = 0;
  explicit SharedBlock(size_t size)
      : data(new unsigned char[size]), cells((size + 3) / 4), bytes(size) {
    std::memset(data.get(), 0xff, size);  // NaNs: nothing is initialised
  }
  SharedArea area() { return {data.get(), bytes, cells.data()}; }
};

enum class State { kReady, kAtBarrier, kInShuffle, kDone };

struct Thread {
  context::fiber fiber;
  ThreadView view;
  State state = State::kDone;
  uint32_t shuffle_value = 0;
  int shuffle_distance = 0;
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

  const ThreadView& self() const { return threads_[static_cast<size_t>(running_)]->view; }
  // Called on a fiber.
  void SyncThreads() { Wait(State::kAtBarrier); }
  uint32_t Shuffle(uint32_t value, int distance);
  SharedArea Shared(const void* tag, size_t bytes);
  void CheckAccess(const SharedArea& area, size_t offset, size_t size, bool write);

 private:
  Executor() {
    const char* seed = std::getenv("LCKV_SIMT_SEED");
    SetSeed(seed == nullptr ? 1 : std::strtoull(seed, nullptr, 10));
  }

  uint64_t Random(uint64_t bound);
  template <typename T>
  void Shuffle(std::vector<T>& values);

  void RunBlock(const LaunchShape& shape, const Index3& block);
  void Resume(int thread);
  bool ReleaseWarps();    // true: some warp had all its lanes in one shuffle
  bool ReleaseBarrier();  // true: all threads were at the barrier
  // On a fiber: gives control back until the scheduler says ready.
  void Wait(State state);
  // On a fiber: records the error and never returns.
  [[noreturn]] void Fail(const std::string& what);
  void Record(const std::string& what);
  std::string Place(int thread) const;
  std::string Deadlock() const;

  uint64_t random_ = 1;
  std::string error_;
  std::string kernel_;
  const std::function<void()>* body_ = nullptr;

  std::vector<std::unique_ptr<Thread>> threads_;  // fibers are reused from launch to launch
  int num_threads_ = 0;
  int running_ = 0;
  Index3 block_;
  context::fiber scheduler_;
  uint32_t epoch_ = 1;
  std::map<const void*, SharedBlock> shared_;
  size_t dynamic_bytes_ = 0;
};

uint64_t Executor::Random(uint64_t bound) {
  random_ ^= random_ << 13;
  random_ ^= random_ >> 7;
  random_ ^= random_ << 17;
  return random_ % bound;
}

template <typename T>
void Executor::Shuffle(std::vector<T>& values) {
  for (size_t i = values.size(); i > 1; --i) std::swap(values[i - 1], values[Random(i)]);
}

int Executor::Run(const std::string& kernel, const LaunchShape& shape,
                  const std::function<void()>& body) {
  if (!error_.empty()) return kError;
  kernel_ = Demangled(kernel);
  const uint64_t threads = uint64_t{shape.block.x} * shape.block.y * shape.block.z;
  const uint64_t blocks = uint64_t{shape.grid.x} * shape.grid.y * shape.grid.z;
  if (threads == 0 || threads > kMaxThreads || blocks == 0 || shape.grid.y > 65535 ||
      shape.grid.z > 65535) {
    Record("a launch of " + std::to_string(blocks) + " blocks of " + std::to_string(threads) +
           " threads");
    return kError;
  }
  body_ = &body;
  num_threads_ = static_cast<int>(threads);
  dynamic_bytes_ = shape.dynamic_shared_bytes;
  while (threads_.size() < threads) threads_.push_back(std::make_unique<Thread>());

  std::vector<uint64_t> order(blocks);
  for (uint64_t i = 0; i < blocks; ++i) order[i] = i;
  Shuffle(order);
  for (const uint64_t i : order) {
    const auto x = static_cast<unsigned>(i % shape.grid.x);
    const auto y = static_cast<unsigned>(i / shape.grid.x % shape.grid.y);
    const auto z = static_cast<unsigned>(i / shape.grid.x / shape.grid.y);
    RunBlock(shape, {x, y, z});
    if (error_.empty()) continue;
    threads_.clear();  // unwinds what hangs in the middle
    break;
  }
  shared_.clear();
  return error_.empty() ? kSuccess : kError;
}

void Executor::RunBlock(const LaunchShape& shape, const Index3& block) {
  block_ = block;
  shared_.clear();
  ++epoch_;
  std::vector<int> order;
  for (int i = 0; i < num_threads_; ++i) {
    Thread& thread = *threads_[static_cast<size_t>(i)];
    const auto n = static_cast<unsigned>(i);
    const Index3 index = {n % shape.block.x, n / shape.block.x % shape.block.y,
                          n / shape.block.x / shape.block.y};
    thread.view = {index, block, shape.block, shape.grid};
    thread.state = State::kReady;
    order.push_back(i);
  }
  while (error_.empty()) {
    Shuffle(order);
    bool ran = false;
    for (const int i : order) {
      if (threads_[static_cast<size_t>(i)]->state != State::kReady) continue;
      ran = true;
      Resume(i);
      if (!error_.empty()) return;
    }
    if (ReleaseWarps() || ran) continue;
    if (ReleaseBarrier()) continue;
    const bool done = std::all_of(order.begin(), order.end(), [this](int i) {
      return threads_[static_cast<size_t>(i)]->state == State::kDone;
    });
    if (!done) Record(Deadlock());
    return;
  }
}

void Executor::Resume(int i) {
  Thread& thread = *threads_[static_cast<size_t>(i)];
  running_ = i;
  if (!thread.fiber) {
    // Runs one thread after another, of this block and later ones.
    thread.fiber =
        context::fiber(std::allocator_arg, context::protected_fixedsize_stack(kStackBytes),
                       [this, &thread](context::fiber&& scheduler) {
                         scheduler_ = std::move(scheduler);
                         while (true) {
                           (*body_)();
                           thread.state = State::kDone;
                           scheduler_ = std::move(scheduler_).resume();
                         }
                         return std::move(scheduler_);
                       });
  }
  thread.fiber = std::move(thread.fiber).resume();
}

void Executor::Wait(State state) {
  threads_[static_cast<size_t>(running_)]->state = state;
  scheduler_ = std::move(scheduler_).resume();
}

bool Executor::ReleaseWarps() {
  bool released = false;
  for (int first = 0; first < num_threads_; first += kWarpSize) {
    const int last = std::min(first + kWarpSize, num_threads_);
    const auto at = [&](int i) -> Thread& { return *threads_[static_cast<size_t>(i)]; };
    bool together = last - first == kWarpSize;
    for (int i = first; i < last && together; ++i) {
      together =
          at(i).state == State::kInShuffle && at(i).shuffle_distance == at(first).shuffle_distance;
    }
    if (!together) continue;
    const int distance = at(first).shuffle_distance;
    std::vector<uint32_t> values;
    for (int i = first; i < last; ++i) values.push_back(at(i).shuffle_value);
    for (int i = first; i < last; ++i) {
      at(i).shuffle_value = values[static_cast<size_t>((i - first) ^ distance)];
      at(i).state = State::kReady;
    }
    released = true;
  }
  return released;
}

bool Executor::ReleaseBarrier() {
  for (int i = 0; i < num_threads_; ++i) {
    if (threads_[static_cast<size_t>(i)]->state != State::kAtBarrier) return false;
  }
  for (int i = 0; i < num_threads_; ++i) threads_[static_cast<size_t>(i)]->state = State::kReady;
  ++epoch_;
  return true;
}

uint32_t Executor::Shuffle(uint32_t value, int distance) {
  Thread& thread = *threads_[static_cast<size_t>(running_)];
  if (distance < 0 || distance >= kWarpSize) Fail("shuffles by " + std::to_string(distance));
  thread.shuffle_value = value;
  thread.shuffle_distance = distance;
  Wait(State::kInShuffle);
  return thread.shuffle_value;
}

SharedArea Executor::Shared(const void* tag, size_t bytes) {
  auto it = shared_.find(tag);
  if (it == shared_.end()) {
    it = shared_.try_emplace(tag, tag == nullptr ? dynamic_bytes_ : bytes).first;
  }
  return it->second.area();
}

void Executor::CheckAccess(const SharedArea& area, size_t offset, size_t size, bool write) {
  if (offset > area.bytes || size > area.bytes - offset) {
    Fail("touches shared byte " + std::to_string(static_cast<int64_t>(offset)) + " of " +
         std::to_string(area.bytes));
  }
  for (size_t i = offset / 4; i < (offset + size + 3) / 4; ++i) {
    Cell& cell = static_cast<Cell*>(area.cells)[i];
    const std::string* verb = nullptr;
    static const std::string reads = "reads", writes = "writes";
    if (cell.write_epoch == epoch_ && cell.writer != running_) verb = write ? &writes : &reads;
    if (write && cell.read_epoch == epoch_ && cell.reader != running_) verb = &writes;
    if (verb != nullptr) {
      Fail(*verb + " shared byte " + std::to_string(i * 4) +
           ", which another thread touches without a barrier between");
    }
    if (write) {
      cell.write_epoch = epoch_;
      cell.writer = running_;
    } else {
      const bool several = cell.read_epoch == epoch_ && cell.reader != running_;
      cell.reader = several ? kSeveral : running_;
      cell.read_epoch = epoch_;
    }
  }
}

std::string Executor::Place(int thread) const {
  const Index3& at = threads_[static_cast<size_t>(thread)]->view.thread_idx;
  const auto text = [](const Index3& index) {
    return "(" + std::to_string(index.x) + "," + std::to_string(index.y) + "," +
           std::to_string(index.z) + ")";
  };
  return "block " + text(block_) + " thread " + text(at);
}

std::string Executor::Deadlock() const {
  std::string text = "threads wait for others that never come:";
  for (const auto& [state, what] :
       std::vector<std::pair<State, std::string>>{{State::kAtBarrier, "at a barrier"},
                                                  {State::kInShuffle, "in a warp operation"},
                                                  {State::kDone, "ended"}}) {
    int count = 0;
    int first = 0;
    for (int i = num_threads_ - 1; i >= 0; --i) {
      if (threads_[static_cast<size_t>(i)]->state != state) continue;
      ++count;
      first = i;
    }
    if (count > 0) text += " " + std::to_string(count) + " " + what + " (" + Place(first) + ")";
  }
  return text;
}

void Executor::Record(const std::string& what) {
  if (error_.empty()) error_ = kernel_ + ": " + what;
}

void Executor::Fail(const std::string& what) {
  Record(Place(running_) + " " + what);
  while (true) Wait(State::kAtBarrier);
}

}  // namespace

int RunKernel(const std::string& kernel, const LaunchShape& shape,
              const std::function<void()>& body) {
  return Executor::Get().Run(kernel, shape, body);
}
const std::string& LastError() { return Executor::Get().error(); }
void ClearError() { Executor::Get().ClearError(); }
void SetSeed(uint64_t seed) { Executor::Get().SetSeed(seed); }
const ThreadView& Self() { return Executor::Get().self(); }
void SyncThreads() { Executor::Get().SyncThreads(); }
uint32_t ShuffleXorBits(uint32_t value, int distance) {
  return Executor::Get().Shuffle(value, distance);
}
SharedArea SharedMemory(const void* tag, size_t bytes) {
  return Executor::Get().Shared(tag, bytes);
}
void CheckAccess(const SharedArea& area, size_t offset, size_t size, bool write) {
  Executor::Get().CheckAccess(area, offset, size, write);
}

}  // namespace lckv::simt
