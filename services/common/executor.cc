#include "services/common/executor.h"

#include <optional>
#include <utility>

#include "base/check.h"

namespace lckv {

Executor::Executor(int threads, size_t queue_capacity) : queue_(queue_capacity) {
  LCKV_CHECK(threads > 0);
  threads_.reserve(threads);
  for (int i = 0; i < threads; ++i) {
    threads_.emplace_back([this] {
      while (std::optional<std::function<void()>> task = queue_.Pop()) (*task)();
    });
  }
}

Executor::~Executor() { Shutdown(); }

bool Executor::TrySubmit(std::function<void()> task) { return queue_.TryPush(std::move(task)); }

void Executor::Shutdown() {
  queue_.Close();
  for (std::thread& thread : threads_) {
    if (thread.joinable()) thread.join();
  }
}

}  // namespace lckv
