#pragma once

// Fibers that run one task after another on stacks with guard pages, and tell ASan when they
// switch: for executor.cc. One host thread.

#include <boost/context/fiber.hpp>
#include <cstddef>
#include <functional>
#include <memory>
#include <utility>
#include <vector>

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/common_interface_defs.h>
#endif

namespace lckv::simt {

class FiberPool {
 public:
  struct Bounds {
    const void* bottom = nullptr;
    size_t size = 0;
  };
  struct Worker {
    boost::context::fiber fiber;
    Bounds stack;
    int task = 0;
  };

  // Around every switch. `saved` is what the side that leaves finds again when it comes back; null
  // when it never does.
  static void BeforeSwitch([[maybe_unused]] void** saved, [[maybe_unused]] const Bounds& to) {
#if defined(__SANITIZE_ADDRESS__)
    __sanitizer_start_switch_fiber(saved, to.bottom, to.size);
#endif
  }
  static void AfterSwitch([[maybe_unused]] void* saved, [[maybe_unused]] Bounds* from) {
#if defined(__SANITIZE_ADDRESS__)
    __sanitizer_finish_switch_fiber(saved, &from->bottom, &from->size);
#endif
  }
  // AfterSwitch at the end of its scope, which an exception may be.
  struct Arrival {
    void* saved = nullptr;
    Bounds* from;
    explicit Arrival(Bounds* bounds) : from(bounds) {}
    ~Arrival() { AfterSwitch(saved, from); }
    Arrival(const Arrival&) = delete;
    Arrival& operator=(const Arrival&) = delete;
  };

  // `run(task)` runs on a fiber; the task it returns runs there next, negative: none.
  explicit FiberPool(std::function<int(int)> run) : run_(std::move(run)) {}
  ~FiberPool() { Clear(); }
  FiberPool(const FiberPool&) = delete;
  FiberPool& operator=(const FiberPool&) = delete;

  // From outside: runs `task` until it suspends or its worker has nothing more to do.
  void Start(int task);
  // Resume and Suspend are inline: the processor mispredicts every return on the way out of a
  // switch.
  void Resume(Worker* worker) {
    running_ = worker;
    Bounds unused;
    Arrival arrival(&unused);
    BeforeSwitch(&arrival.saved, worker->stack);
    worker->fiber = std::move(worker->fiber).resume();
  }
  // On a fiber.
  Worker* running() const { return running_; }
  void Suspend() {
    Arrival arrival(&outside_stack_);
    BeforeSwitch(&arrival.saved, outside_stack_);
    outside_ = std::move(outside_).resume();
  }

  // From outside: unwinds what is suspended; its destructors run.
  void Clear();

 private:
  void Main(Worker* worker);

  const std::function<int(int)> run_;
  std::vector<std::unique_ptr<Worker>> workers_;
  std::vector<Worker*> idle_;
  Worker* running_ = nullptr;
  boost::context::fiber outside_;
  Bounds outside_stack_;
};

}  // namespace lckv::simt
