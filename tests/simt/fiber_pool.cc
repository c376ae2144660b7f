#include "tests/simt/fiber_pool.h"

#include <boost/context/protected_fixedsize_stack.hpp>
#include <utility>

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/common_interface_defs.h>
#endif

namespace lckv::simt {
namespace {

constexpr size_t kStackBytes = size_t{128} << 10;

// Around every switch. `saved` is what the side that leaves finds again when it comes back; null
// when it never does.
void BeforeSwitch([[maybe_unused]] void** saved, [[maybe_unused]] const FiberPool::Bounds& to) {
#if defined(__SANITIZE_ADDRESS__)
  __sanitizer_start_switch_fiber(saved, to.bottom, to.size);
#endif
}
void AfterSwitch([[maybe_unused]] void* saved, [[maybe_unused]] FiberPool::Bounds* from) {
#if defined(__SANITIZE_ADDRESS__)
  __sanitizer_finish_switch_fiber(saved, &from->bottom, &from->size);
#endif
}

// AfterSwitch at the end of its scope, which an exception may be.
struct Arrival {
  void* saved = nullptr;
  FiberPool::Bounds* from;
  explicit Arrival(FiberPool::Bounds* bounds) : from(bounds) {}
  ~Arrival() { AfterSwitch(saved, from); }
  Arrival(const Arrival&) = delete;
  Arrival& operator=(const Arrival&) = delete;
};

// A stack that remembers where it is.
class RecordedStack {
 public:
  explicit RecordedStack(FiberPool::Bounds* bounds) : stack_(kStackBytes), bounds_(bounds) {}
  boost::context::stack_context allocate() {
    const boost::context::stack_context stack = stack_.allocate();
    bounds_->bottom = static_cast<const char*>(stack.sp) - stack.size;
    bounds_->size = stack.size;
    return stack;
  }
  void deallocate(boost::context::stack_context& stack) { stack_.deallocate(stack); }

 private:
  boost::context::protected_fixedsize_stack stack_;
  FiberPool::Bounds* const bounds_;
};

// Tells that the fiber ends, however it does.
struct LastDeparture {
  const FiberPool::Bounds* to;
  explicit LastDeparture(const FiberPool::Bounds* bounds) : to(bounds) {}
  ~LastDeparture() { BeforeSwitch(nullptr, *to); }
  LastDeparture(const LastDeparture&) = delete;
  LastDeparture& operator=(const LastDeparture&) = delete;
};

}  // namespace

void FiberPool::Start(int task) {
  Worker* worker = nullptr;
  if (idle_.empty()) {
    worker = workers_.emplace_back(std::make_unique<Worker>()).get();
    worker->fiber = boost::context::fiber(std::allocator_arg, RecordedStack(&worker->stack),
                                          [this, worker](boost::context::fiber&& outside) {
                                            AfterSwitch(nullptr, &outside_stack_);
                                            const LastDeparture departure(&outside_stack_);
                                            outside_ = std::move(outside);
                                            Main(worker);
                                            return std::move(outside_);
                                          });
  } else {
    worker = idle_.back();
    idle_.pop_back();
  }
  worker->task = task;
  SwitchTo(worker);
}

void FiberPool::Resume(Worker* worker) { SwitchTo(worker); }

void FiberPool::Suspend() { SwitchBack(); }

void FiberPool::Clear() {
  for (const auto& worker : workers_) {
    Bounds unused;
    Arrival arrival(&unused);
    BeforeSwitch(&arrival.saved, worker->stack);
    worker->fiber = {};
  }
  workers_.clear();
  idle_.clear();
}

void FiberPool::Main(Worker* worker) {
  while (true) {
    int task = worker->task;
    while (task >= 0) task = run_(task);
    idle_.push_back(worker);
    SwitchBack();
  }
}

void FiberPool::SwitchTo(Worker* worker) {
  running_ = worker;
  Bounds unused;
  Arrival arrival(&unused);
  BeforeSwitch(&arrival.saved, worker->stack);
  worker->fiber = std::move(worker->fiber).resume();
}

void FiberPool::SwitchBack() {
  Arrival arrival(&outside_stack_);
  BeforeSwitch(&arrival.saved, outside_stack_);
  outside_ = std::move(outside_).resume();
}

}  // namespace lckv::simt
