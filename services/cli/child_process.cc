#include "services/cli/child_process.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"

namespace lckv {
namespace {

constexpr size_t kMaxLineBytes = 64 << 10;

absl::Status SystemError(absl::string_view what) {
  return absl::InternalError(absl::StrCat(what, ": ", std::strerror(errno)));
}

// True if `fd` is readable or closed by its peer before `deadline`.
bool WaitReadable(int fd, absl::Time deadline) {
  while (true) {
    const absl::Duration left = std::max(deadline - absl::Now(), absl::ZeroDuration());
    const int64_t timeout_ms = std::min<int64_t>(
        absl::ToInt64Milliseconds(absl::Ceil(left, absl::Milliseconds(1))), 60000);
    pollfd waited = {.fd = fd, .events = POLLIN, .revents = 0};
    const int ready = poll(&waited, 1, static_cast<int>(timeout_ms));
    if (ready > 0) return true;
    if (ready == 0 && absl::Now() >= deadline) return false;
    if (ready < 0 && errno != EINTR) return false;
  }
}

// Runs in the child between fork and exec: async-signal-safe calls only.
[[noreturn]] void Execute(char* const* argv, int output_fd, int log_fd, pid_t parent) {
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (getppid() != parent) _exit(127);  // it died before the line above
  setpgid(0, 0);
  sigset_t none;
  sigemptyset(&none);
  sigprocmask(SIG_SETMASK, &none, nullptr);
  signal(SIGPIPE, SIG_DFL);
  dup2(output_fd, STDOUT_FILENO);
  if (log_fd >= 0) dup2(log_fd, STDERR_FILENO);
  const int null_fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
  if (null_fd >= 0) dup2(null_fd, STDIN_FILENO);
  execv(argv[0], argv);
  _exit(127);
}

}  // namespace

absl::StatusOr<std::unique_ptr<ChildProcess>> ChildProcess::Start(const Options& options) {
  if (options.argv.empty()) return absl::InvalidArgumentError("argv: no program");
  std::vector<char*> argv;
  for (const std::string& argument : options.argv) {
    argv.push_back(const_cast<char*>(argument.c_str()));
  }
  argv.push_back(nullptr);

  int log_fd = -1;
  if (!options.log_path.empty()) {
    log_fd = open(options.log_path.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
    if (log_fd < 0) return SystemError(options.log_path);
  }
  int output[2];
  if (pipe2(output, O_CLOEXEC) != 0) {
    absl::Status status = SystemError("pipe");
    if (log_fd >= 0) close(log_fd);
    return status;
  }
  const pid_t parent = getpid();
  const pid_t pid = fork();
  if (pid == 0) Execute(argv.data(), output[1], log_fd, parent);
  absl::Status status = pid < 0 ? SystemError("fork") : absl::OkStatus();
  close(output[1]);
  if (log_fd >= 0) close(log_fd);
  const int exit_fd = pid < 0 ? -1 : static_cast<int>(syscall(SYS_pidfd_open, pid, 0));
  if (pid > 0 && exit_fd < 0) {
    status = SystemError("pidfd_open");
    kill(pid, SIGKILL);
    waitpid(pid, nullptr, 0);
  }
  if (!status.ok()) {
    close(output[0]);
    return status;
  }
  return std::unique_ptr<ChildProcess>(new ChildProcess(pid, exit_fd, output[0]));
}

ChildProcess::~ChildProcess() {
  Signal(SIGKILL);
  Wait(absl::InfiniteFuture());
  close(output_fd_);
  close(exit_fd_);
}

absl::StatusOr<std::string> ChildProcess::ReadLine(absl::Time deadline) {
  while (true) {
    if (const size_t end = output_.find('\n'); end != std::string::npos) {
      std::string line = output_.substr(0, end);
      output_.erase(0, end + 1);
      return line;
    }
    if (output_.size() > kMaxLineBytes) return absl::OutOfRangeError("a line over 64 KiB");
    if (!WaitReadable(output_fd_, deadline)) {
      return absl::DeadlineExceededError("no line on its standard output");
    }
    char bytes[4096];
    const ssize_t count = read(output_fd_, bytes, sizeof(bytes));
    if (count < 0 && errno == EINTR) continue;
    if (count <= 0) return absl::UnavailableError("it closed its standard output");
    output_.append(bytes, static_cast<size_t>(count));
  }
}

void ChildProcess::Signal(int signal) {
  if (!status_.has_value()) kill(pid_, signal);
}

std::optional<int> ChildProcess::Wait(absl::Time deadline) {
  if (status_.has_value()) return status_;
  if (!WaitReadable(exit_fd_, deadline)) return std::nullopt;
  int status = 0;
  if (waitpid(pid_, &status, 0) != pid_) return std::nullopt;
  status_ = WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
  return status_;
}

}  // namespace lckv
