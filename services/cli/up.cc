// `lckv up`: cache node, workers and gateway as children of this process, with embedded defaults.

#include <poll.h>
#include <signal.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <iostream>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "base/status_macros.h"
#include "services/cli/command.h"
#include "services/cli/service_process.h"

namespace lckv {
namespace {

// Loading and hashing a large model for the first time takes this long at most.
constexpr absl::Duration kStartLimit = absl::Minutes(10);
// Longer than the services' own grace periods.
constexpr absl::Duration kStopLimit = absl::Seconds(60);

struct UpOptions {
  std::string model;
  std::string layer_map;
  std::string data;  // empty: $XDG_DATA_HOME/lckv or ~/.local/share/lckv
  std::string host = "127.0.0.1";
  int port = 7400;
  int workers = 1;
  int threads = 0;
  std::string kv_memory = "256MiB";
};

struct Service {
  std::string name;
  ServiceProcess process;
};

std::string DefaultDataFolder() {
  if (const char* data = std::getenv("XDG_DATA_HOME"); data != nullptr && *data != '\0') {
    return absl::StrCat(data, "/lckv");
  }
  const char* home = std::getenv("HOME");
  return absl::StrCat(home == nullptr ? "." : home, "/.local/share/lckv");
}

// The services in the order in which they are started; stopped in the opposite order, so that each
// finds those that it needs until its end.
class Stack {
 public:
  explicit Stack(std::string data)
      : program_(std::filesystem::read_symlink("/proc/self/exe").string()),
        logs_(absl::StrCat(data, "/logs")) {}

  // The address it listens on.
  absl::StatusOr<std::string> Start(const std::string& name, std::vector<std::string> arguments) {
    arguments.insert(arguments.begin(), program_);
    LCKV_ASSIGN_OR_RETURN(ServiceProcess process,
                          StartService(std::move(arguments), absl::StrCat(logs_, "/", name, ".log"),
                                       absl::Now() + kStartLimit));
    services_.push_back({name, std::move(process)});
    return services_.back().process.listen;
  }

  // Blocks until a signal arrives on `signal_fd`, or a service ends: its name.
  std::optional<std::string> WaitForEnd(int signal_fd) const {
    std::vector<pollfd> waited = {{.fd = signal_fd, .events = POLLIN, .revents = 0}};
    for (const Service& service : services_) {
      waited.push_back({.fd = service.process.child->exit_fd(), .events = POLLIN, .revents = 0});
    }
    while (poll(waited.data(), waited.size(), -1) <= 0) {
    }
    for (size_t i = 0; i < services_.size(); ++i) {
      if (waited[i + 1].revents != 0) return services_[i].name;
    }
    return std::nullopt;
  }

  void Stop() {
    for (; !services_.empty(); services_.pop_back()) {
      ChildProcess& child = *services_.back().process.child;
      child.Signal(SIGTERM);
      if (!child.Wait(absl::Now() + kStopLimit).has_value()) {
        std::cerr << "lckv: " << services_.back().name << " did not stop: killed\n";
      }
    }
  }

  const std::string& logs() const { return logs_; }

 private:
  const std::string program_;
  const std::string logs_;
  std::vector<Service> services_;
};

std::vector<std::string> WorkerArguments(const UpOptions& options, const std::string& id,
                                         const std::string& cache_node) {
  const int cores = std::max(1, static_cast<int>(std::thread::hardware_concurrency()));
  const int threads = options.threads > 0 ? options.threads : std::max(1, cores / options.workers);
  std::vector<std::string> arguments = {"worker",       "--worker-id",        id,
                                        "--cache-node", cache_node,           "--model",
                                        options.model,  "--kv-memory",        options.kv_memory,
                                        "--threads",    absl::StrCat(threads)};
  if (!options.layer_map.empty()) {
    arguments.insert(arguments.end(), {"--layer-map", options.layer_map});
  }
  return arguments;
}

absl::Status StartAll(const UpOptions& options, const std::string& data, Stack& stack) {
  LCKV_ASSIGN_OR_RETURN(const std::string cache_node,
                        stack.Start("cache-node", {"cache-node", "--data", data + "/cache"}));
  std::vector<std::string> gateway = {"gateway", "--cache-node", cache_node, "--listen",
                                      absl::StrCat(options.host, ":", options.port)};
  for (int i = 1; i <= options.workers; ++i) {
    const std::string id = absl::StrCat("worker-", i);
    LCKV_ASSIGN_OR_RETURN(const std::string worker,
                          stack.Start(id, WorkerArguments(options, id, cache_node)));
    gateway.insert(gateway.end(), {"--worker", worker});
  }
  LCKV_ASSIGN_OR_RETURN(const std::string address, stack.Start("gateway", gateway));
  std::cout << "lckv is up at " << address << ", logs in " << stack.logs() << "\n"
            << "Talk to it:  lckv chat --server " << address << "\n"
            << "Stop it:     Ctrl-C" << std::endl;
  return absl::OkStatus();
}

absl::Status RunUp(const UpOptions& options) {
  const std::string data = options.data.empty() ? DefaultDataFolder() : options.data;
  std::error_code error;
  std::filesystem::create_directories(data + "/logs", error);
  if (error) return absl::FailedPreconditionError(absl::StrCat(data, ": ", error.message()));

  // A signal during the start just ends this process, and the children with it.
  Stack stack(data);
  absl::Status status = StartAll(options, data, stack);
  if (status.ok()) {
    sigset_t stop_signals;
    sigemptyset(&stop_signals);
    sigaddset(&stop_signals, SIGTERM);
    sigaddset(&stop_signals, SIGINT);
    sigprocmask(SIG_BLOCK, &stop_signals, nullptr);
    const int signal_fd = signalfd(-1, &stop_signals, SFD_CLOEXEC);
    if (const std::optional<std::string> ended = stack.WaitForEnd(signal_fd)) {
      status = absl::UnavailableError(absl::StrCat(*ended, " ended, see ", stack.logs()));
    }
    close(signal_fd);
  }
  stack.Stop();
  return status;
}

}  // namespace

void AddUp(CLI::App& tool, Action& chosen) {
  auto options = std::make_shared<UpOptions>();
  CLI::App* command = Declare(tool, "up", "All services on this machine", options, &RunUp, chosen);
  command->add_option("--model", options->model, "Model directory or GGUF file")->required();
  command->add_option("--layer-map", options->layer_map, "Layer map instead of the config's");
  command->add_option("--data", options->data,
                      "Where sessions and logs are kept "
                      "(default: ~/.local/share/lckv)");
  command->add_option("--host", options->host, "Address of the gateway")->capture_default_str();
  command->add_option("--port", options->port, "Port of the gateway; 0: a free one")
      ->capture_default_str()
      ->check(CLI::Range(0, 65535));
  command->add_option("--workers", options->workers)
      ->capture_default_str()
      ->check(CLI::Range(1, 16));
  command->add_option("--threads", options->threads, "Of each worker; 0: cores / workers")
      ->capture_default_str()
      ->check(CLI::Range(0, 1024));
  command->add_option("--kv-memory", options->kv_memory, "KV pool of each worker")
      ->capture_default_str();
}

}  // namespace lckv
