// `lckv health`: asks a service whether it serves; for the health checks of containers.

#include <grpcpp/grpcpp.h>

#include <chrono>
#include <iostream>
#include <memory>
#include <string>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "grpc/health/v1/health.grpc.pb.h"
#include "rpc/status_conversion.h"
#include "services/cli/command.h"
#include "services/cli/gateway_client.h"

namespace lckv {
namespace {

struct HealthOptions {
  GatewayFlags server;
  std::string service;  // empty: the whole
  double timeout_seconds = 5;
};

absl::Status RunHealth(const HealthOptions& options) {
  LCKV_ASSIGN_OR_RETURN(const std::shared_ptr<grpc::Channel> channel,
                        MakeGatewayChannel(options.server));
  const auto health = grpc::health::v1::Health::NewStub(channel);
  grpc::ClientContext context;
  context.set_deadline(std::chrono::system_clock::now() +
                       std::chrono::milliseconds(int64_t(options.timeout_seconds * 1000)));
  grpc::health::v1::HealthCheckRequest request;
  request.set_service(options.service);
  grpc::health::v1::HealthCheckResponse response;
  LCKV_RETURN_IF_ERROR(FromGrpcStatus(health->Check(&context, request, &response)));
  if (response.status() != grpc::health::v1::HealthCheckResponse::SERVING) {
    return absl::UnavailableError(
        absl::StrCat(options.server.server, ": ",
                     grpc::health::v1::HealthCheckResponse::ServingStatus_Name(response.status())));
  }
  std::cout << "SERVING\n";
  return absl::OkStatus();
}

}  // namespace

void AddHealth(CLI::App& tool, Action& chosen) {
  auto options = std::make_shared<HealthOptions>();
  CLI::App* command = Declare(tool, "health", "Ask a service whether it serves: exit status 0 or 1",
                              options, &RunHealth, chosen);
  AddGatewayFlags(*command, &options->server);
  command->add_option("--service", options->service,
                      "liveness, ready or a gRPC service's full name; default: the whole");
  command->add_option("--timeout-seconds", options->timeout_seconds, "how long it may take")
      ->check(CLI::Range(0.01, 3600.0))
      ->capture_default_str();
}

}  // namespace lckv
