#include "tests/integration/cluster.h"

#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <iterator>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/time/clock.h"
#include "base/check.h"
#include "base/status_macros.h"
#include "services/common/listen_address.h"
#include "tests/testing/golden.h"

namespace lckv::testing {
namespace {

// The body of GET `path` from host:port; empty when nobody answers.
std::string HttpGet(const std::string& address, absl::string_view path) {
  const absl::StatusOr<ListenAddress> parsed = ParseListenAddress(address);
  if (!parsed.ok()) return "";
  sockaddr_in peer = {};
  peer.sin_family = AF_INET;
  peer.sin_port = htons(parsed->port);
  if (inet_pton(AF_INET, parsed->host.c_str(), &peer.sin_addr) != 1) return "";
  const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (fd < 0) return "";
  std::string answer;
  const std::string request =
      absl::StrCat("GET ", path, " HTTP/1.0\r\nHost: ", address, "\r\n\r\n");
  if (connect(fd, reinterpret_cast<const sockaddr*>(&peer), sizeof(peer)) == 0 &&
      send(fd, request.data(), request.size(), MSG_NOSIGNAL) ==
          static_cast<ssize_t>(request.size())) {
    char bytes[4096];
    for (ssize_t count = 0; (count = recv(fd, bytes, sizeof(bytes), 0)) > 0;) {
      answer.append(bytes, static_cast<size_t>(count));
    }
  }
  close(fd);
  const size_t body = answer.find("\r\n\r\n");
  return body == std::string::npos ? "" : answer.substr(body + 4);
}

}  // namespace

bool WaitUntil(const std::function<bool()>& condition) {
  const absl::Time deadline = absl::Now() + kPatience;
  while (!condition()) {
    if (absl::Now() >= deadline) return false;
    absl::SleepFor(absl::Milliseconds(5));
  }
  return true;
}

Cluster::Cluster(ClusterOptions options) : options_(std::move(options)) {
  std::string name = absl::StrCat(::testing::TempDir(), "lckv-cluster-XXXXXX");
  LCKV_CHECK(mkdtemp(name.data()) != nullptr);
  folder_ = name;
  cache_folder_ = absl::StrCat(folder_, "/cache");
}

Cluster::~Cluster() {
  processes_.clear();
  if (::testing::Test::HasFailure()) {
    std::cerr << "Data and logs of the cluster: " << folder_ << "\n";
    return;
  }
  std::error_code error;
  std::filesystem::remove_all(folder_, error);
}

absl::StatusOr<std::unique_ptr<Cluster>> Cluster::Start(const ClusterOptions& options) {
  std::unique_ptr<Cluster> cluster(new Cluster(options));
  LCKV_RETURN_IF_ERROR(cluster->StartAll());
  return cluster;
}

absl::Status Cluster::StartAll() {
  LCKV_RETURN_IF_ERROR(StartProcess("cache-node", FlagsOf("cache-node")));
  for (int i = 1; i <= options_.workers; ++i) {
    const std::string id = absl::StrCat("worker-", i);
    LCKV_RETURN_IF_ERROR(StartProcess(id, FlagsOf(id)));
  }
  LCKV_RETURN_IF_ERROR(StartProcess("gateway", FlagsOf("gateway")));
  // Ready means listening; the gateway still has to hear from its workers.
  return WaitForWorkers(options_.workers)
             ? absl::OkStatus()
             : absl::DeadlineExceededError("the gateway does not see its workers");
}

bool Cluster::WaitForWorkers(int count) const {
  return WaitUntil(
      [&] { return Metric("gateway", "lckv_gateway_workers{state=\"ready\"}") == count; });
}

const std::vector<std::string>& Cluster::FlagsOf(const std::string& name) const {
  if (name == "cache-node") return options_.cache_node_flags;
  return name == "gateway" ? options_.gateway_flags : options_.worker_flags;
}

std::vector<std::string> Cluster::CommandLine(const std::string& name,
                                              const std::vector<std::string>& flags) const {
  const auto former = addresses_.find(name);
  const std::string listen = former == addresses_.end() ? "127.0.0.1:0" : former->second;
  std::vector<std::string> line = {LCKV_BINARY};
  const auto add = [&line](std::initializer_list<std::string> arguments) {
    line.insert(line.end(), arguments);
  };
  if (name == "cache-node") {
    add({"cache-node", "--data", cache_folder_});
  } else if (name == "gateway") {
    add({"gateway", "--cache-node", addresses_.at("cache-node"), "--suspect-after", "1s",
         "--stall-timeout", "1s"});
    for (int i = 1; i <= options_.workers; ++i) {
      add({"--worker", addresses_.at(absl::StrCat("worker-", i))});
    }
  } else {
    add({"worker", "--worker-id", name, "--cache-node", addresses_.at("cache-node"), "--model",
         DataPath("models/bard-lckv-w2"), "--kv-memory", "32MiB", "--threads", "1"});
  }
  add({"--listen", listen, "--metrics-listen", "127.0.0.1:0"});
  line.insert(line.end(), flags.begin(), flags.end());
  return line;
}

absl::Status Cluster::StartProcess(const std::string& name, const std::vector<std::string>& flags) {
  LCKV_ASSIGN_OR_RETURN(
      ServiceProcess process,
      StartService(CommandLine(name, flags), absl::StrCat(folder_, "/", name, ".log"),
                   absl::Now() + kPatience));
  addresses_[name] = process.listen;
  processes_[name] = std::move(process);
  // A client of a replaced gateway connects anew.
  if (name == "gateway")
    gateway_stub_ = v1::Inference::NewStub(MakeChannel(addresses_[name], options_.client));
  return absl::OkStatus();
}

std::unique_ptr<v1::Worker::Stub> Cluster::worker(const std::string& id) const {
  return v1::Worker::NewStub(MakeChannel(addresses_.at(id), options_.client));
}

void Cluster::Kill(const std::string& name) {
  ChildProcess& child = *processes_.at(name).child;
  child.Signal(SIGKILL);
  child.Wait(absl::Now() + kPatience);
}

int Cluster::Terminate(const std::string& name) {
  ChildProcess& child = *processes_.at(name).child;
  child.Signal(SIGTERM);
  return child.Wait(absl::Now() + kPatience).value_or(-1);
}

absl::Status Cluster::Restart(const std::string& name) { return Restart(name, FlagsOf(name)); }

absl::Status Cluster::Restart(const std::string& name, const std::vector<std::string>& flags) {
  return StartProcess(name, flags);
}

std::string Cluster::Http(const std::string& name, absl::string_view path) const {
  return HttpGet(processes_.at(name).metrics, path);
}

std::string Cluster::Log(const std::string& name) const {
  std::ifstream file(absl::StrCat(folder_, "/", name, ".log"), std::ios::binary);
  return std::string((std::istreambuf_iterator<char>(file)), {});
}

double Cluster::Metric(const std::string& name, absl::string_view metric) const {
  double sum = 0;
  for (const absl::string_view line : absl::StrSplit(Http(name, "/metrics"), '\n')) {
    if (!absl::StartsWith(line, metric)) continue;
    const absl::string_view rest = line.substr(metric.size());
    if (rest.empty() || (rest[0] != '{' && rest[0] != ' ')) continue;
    double value = 0;
    if (absl::SimpleAtod(line.substr(line.rfind(' ') + 1), &value)) sum += value;
  }
  return sum;
}

}  // namespace lckv::testing
