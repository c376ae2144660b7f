#pragma once

#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "services/cli/child_process.h"

namespace lckv {

// One of our services as a child process that has said it is ready.
struct ServiceProcess {
  std::unique_ptr<ChildProcess> child;
  std::string listen;   // host:port of its gRPC server
  std::string metrics;  // host:port of its /metrics, or empty
};

// Starts `argv` (argv[0]: the lckv binary) and waits for its ready line (server_runner.h). An error
// says what the child did instead and where its log is.
absl::StatusOr<ServiceProcess> StartService(std::vector<std::string> argv,
                                            const std::string& log_path, absl::Time deadline);

// The ready line: {"service":…,"listen":…,"metrics":…}. INVALID_ARGUMENT.
struct ReadyLine {
  std::string listen;
  std::string metrics;
};
absl::StatusOr<ReadyLine> ParseReadyLine(absl::string_view line);

}  // namespace lckv
