#pragma once

#include <sys/types.h>

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"

namespace lckv {

// A program that this process started. It has a process group of its own, so a ^C in the terminal
// reaches only its parent, starts with no signal blocked, and is killed when its parent dies.
// Killed and reaped in the destructor. Not thread-safe; the thread that called Start must live as
// long as the child.
class ChildProcess {
 public:
  struct Options {
    std::vector<std::string> argv;  // argv[0] is the program's path
    std::string log_path = {};      // standard error is appended to it; empty: this process's own
  };

  // INVALID_ARGUMENT: no program; INTERNAL: the system's answer. A program that cannot be executed
  // ends with status 127.
  static absl::StatusOr<std::unique_ptr<ChildProcess>> Start(const Options& options);
  ~ChildProcess();
  ChildProcess(const ChildProcess&) = delete;
  ChildProcess& operator=(const ChildProcess&) = delete;

  pid_t pid() const { return pid_; }
  // Readable (poll) once the process has ended.
  int exit_fd() const { return exit_fd_; }

  // The next line of its standard output, without the newline. DEADLINE_EXCEEDED; UNAVAILABLE: it
  // closed its output; OUT_OF_RANGE: a line over 64 KiB.
  absl::StatusOr<std::string> ReadLine(absl::Time deadline);

  // Nothing happens once it has ended.
  void Signal(int signal);
  // Its exit status (128 + the signal's number if a signal ended it); nothing if it still runs at
  // `deadline`.
  std::optional<int> Wait(absl::Time deadline);

 private:
  ChildProcess(pid_t pid, int exit_fd, int output_fd)
      : pid_(pid), exit_fd_(exit_fd), output_fd_(output_fd) {}

  const pid_t pid_;
  const int exit_fd_;
  const int output_fd_;
  std::string output_;  // read, not yet returned
  std::optional<int> status_;
};

}  // namespace lckv
