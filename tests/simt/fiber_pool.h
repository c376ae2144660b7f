#pragma once

// Fibers that run one task after another on stacks with guard pages, and tell ASan when they
// switch: for executor.cc. One host thread.

#include <boost/context/fiber.hpp>
#include <cstddef>
#include <functional>
#include <memory>
#include <vector>

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

  // `run(task)` runs on a fiber; the task it returns runs there next, negative: none.
  explicit FiberPool(std::function<int(int)> run) : run_(std::move(run)) {}
  ~FiberPool() { Clear(); }
  FiberPool(const FiberPool&) = delete;
  FiberPool& operator=(const FiberPool&) = delete;

  // From outside: runs `task` until it suspends or its worker has nothing more to do.
  void Start(int task);
  void Resume(Worker* worker);
  // On a fiber.
  Worker* running() const { return running_; }
  void Suspend();

  // From outside: unwinds what is suspended; its destructors run.
  void Clear();

 private:
  void Main(Worker* worker);
  void SwitchTo(Worker* worker);
  void SwitchBack();

  const std::function<int(int)> run_;
  std::vector<std::unique_ptr<Worker>> workers_;
  std::vector<Worker*> idle_;
  Worker* running_ = nullptr;
  boost::context::fiber outside_;
  Bounds outside_stack_;
};

}  // namespace lckv::simt
