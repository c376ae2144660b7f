#include "tests/simt/fiber_pool.h"

#include <boost/context/protected_fixedsize_stack.hpp>

namespace lckv::simt {
namespace {

constexpr size_t kStackBytes = size_t{128} << 10;

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
  ~LastDeparture() { FiberPool::BeforeSwitch(nullptr, *to); }
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
                                            FiberPool::AfterSwitch(nullptr, &outside_stack_);
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
  Resume(worker);
}

void FiberPool::Clear() {
  for (const auto& worker : workers_) {
    Bounds unused;
    Arrival arrival(&unused);
    FiberPool::BeforeSwitch(&arrival.saved, worker->stack);
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
    Suspend();
  }
}

}  // namespace lckv::simt
