#include "services/cli/service_process.h"

#include <nlohmann/json.hpp>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "base/status_macros.h"

namespace lckv {
namespace {

std::string DescribeFailure(ChildProcess& child, const std::string& log_path) {
  const std::optional<int> status = child.Wait(absl::Now() + absl::Seconds(1));
  const std::string what =
      status.has_value() ? absl::StrCat("ended with status ", *status) : "is not ready";
  return log_path.empty() ? what : absl::StrCat(what, ", see ", log_path);
}

}  // namespace

absl::StatusOr<ReadyLine> ParseReadyLine(absl::string_view line) {
  const nlohmann::json json =
      nlohmann::json::parse(line.begin(), line.end(), nullptr, /*allow_exceptions=*/false);
  const auto text = [&json](const char* key) {
    return json.is_object() && json.contains(key) && json[key].is_string()
               ? json[key].get<std::string>()
               : std::string();
  };
  ReadyLine ready = {.listen = text("listen"), .metrics = text("metrics")};
  if (ready.listen.empty()) {
    return absl::InvalidArgumentError(absl::StrCat("no ready line: ", line.substr(0, 200)));
  }
  return ready;
}

absl::StatusOr<ServiceProcess> StartService(std::vector<std::string> argv,
                                            const std::string& log_path, absl::Time deadline) {
  const std::string name = argv.size() > 1 ? argv[1] : "service";
  LCKV_ASSIGN_OR_RETURN(std::unique_ptr<ChildProcess> child,
                        ChildProcess::Start({.argv = std::move(argv), .log_path = log_path}));
  const absl::StatusOr<std::string> line = child->ReadLine(deadline);
  if (!line.ok()) {
    return absl::UnavailableError(absl::StrCat(name, " ", DescribeFailure(*child, log_path)));
  }
  absl::StatusOr<ReadyLine> ready = ParseReadyLine(*line);
  if (!ready.ok()) return Annotate(ready.status(), name);
  return ServiceProcess{std::move(child), std::move(ready->listen), std::move(ready->metrics)};
}

}  // namespace lckv
