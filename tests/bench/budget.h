#pragma once

#include <algorithm>
#include <chrono>

namespace lckv::bench {

// The time that a run may take, dealt out to its groups by weight: what one leaves the next ones
// get. Whoever is about to start something asks whether it fits.
class Budget {
 public:
  explicit Budget(double seconds) : begin_(Clock::now()), seconds_(seconds) {}

  double Spent() const { return std::chrono::duration<double>(Clock::now() - begin_).count(); }

  // Begins a group that may take `weight` of `weights_left` (its own included) of what is left.
  void BeginGroup(double weight, double weights_left) {
    const double spent = Spent();
    group_end_ = spent + std::max(0.0, seconds_ - spent) * weight / weights_left;
  }
  double GroupLeft() const { return group_end_ - Spent(); }
  double Left() const { return seconds_ - Spent(); }

 private:
  using Clock = std::chrono::steady_clock;
  Clock::time_point begin_;
  double seconds_;
  double group_end_ = 0;
};

}  // namespace lckv::bench
