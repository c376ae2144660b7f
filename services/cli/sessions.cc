// `lckv sessions`: what is known about conversations, and closing them.

#include <iostream>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "base/status_macros.h"
#include "base/units.h"
#include "services/cli/command.h"
#include "services/cli/gateway_client.h"
#include "services/cli/json_output.h"

namespace lckv {
namespace {

struct SessionsOptions {
  GatewayFlags gateway;
  std::string session;
  bool prefetch = false;
  bool json = false;
};

void PrintTableHead() {
  std::cout << absl::StreamFormat("%-34s %7s %8s %8s %-8s %10s  %s\n", "SESSION", "VERSION",
                                  "TOKENS", "WITH KV", "STATE", "KV", "WORKER");
}

void Print(const v1::SessionInfo& session, const SessionsOptions& options) {
  if (options.json) {
    std::cout << ToLine(ToJson(session)) << "\n";
    return;
  }
  std::cout << absl::StreamFormat(
      "%-34s %7d %8d %8d %-8s %10s  %s\n", session.session_id(), session.version(),
      session.transcript_tokens(), session.kv_tokens(), Name(session.state()),
      FormatBytes(static_cast<int64_t>(session.kv_bytes())), session.worker());
}

absl::Status RunList(const SessionsOptions& options) {
  LCKV_ASSIGN_OR_RETURN(const GatewayClient gateway, GatewayClient::Make(options.gateway));
  if (!options.json) PrintTableHead();
  v1::ListSessionsRequest request;
  do {
    v1::ListSessionsResponse response;
    LCKV_RETURN_IF_ERROR(
        gateway.ToStatus(gateway.stub().ListSessions(gateway.NewCall().get(), request, &response)));
    for (const v1::SessionInfo& session : response.sessions()) Print(session, options);
    request.set_page_token(response.next_page_token());
  } while (!request.page_token().empty());
  return absl::OkStatus();
}

absl::Status RunShow(const SessionsOptions& options) {
  LCKV_ASSIGN_OR_RETURN(const GatewayClient gateway, GatewayClient::Make(options.gateway));
  v1::GetSessionRequest request;
  request.set_session_id(options.session);
  v1::SessionInfo session;
  LCKV_RETURN_IF_ERROR(
      gateway.ToStatus(gateway.stub().GetSession(gateway.NewCall().get(), request, &session)));
  if (!options.json) PrintTableHead();
  Print(session, options);
  return absl::OkStatus();
}

absl::Status RunTouch(const SessionsOptions& options) {
  LCKV_ASSIGN_OR_RETURN(const GatewayClient gateway, GatewayClient::Make(options.gateway));
  v1::TouchSessionRequest request;
  request.set_session_id(options.session);
  request.set_prefetch(options.prefetch);
  v1::SessionInfo session;
  LCKV_RETURN_IF_ERROR(
      gateway.ToStatus(gateway.stub().TouchSession(gateway.NewCall().get(), request, &session)));
  if (!options.json) PrintTableHead();
  Print(session, options);
  return absl::OkStatus();
}

absl::Status RunClose(const SessionsOptions& options) {
  LCKV_ASSIGN_OR_RETURN(const GatewayClient gateway, GatewayClient::Make(options.gateway));
  v1::CloseSessionRequest request;
  request.set_session_id(options.session);
  v1::CloseSessionResponse response;
  return gateway.ToStatus(gateway.stub().CloseSession(gateway.NewCall().get(), request, &response));
}

}  // namespace

void AddSessions(CLI::App& tool, Action& chosen) {
  CLI::App* group = tool.add_subcommand("sessions", "Lists, shows, touches and closes sessions");
  group->require_subcommand(1);
  auto options = std::make_shared<SessionsOptions>();

  const auto add = [&](const char* name, const char* help,
                       absl::Status (*run)(const SessionsOptions&)) {
    CLI::App* command = Declare(*group, name, help, options, run, chosen);
    AddGatewayFlags(*command, &options->gateway);
    command->add_flag("--json", options->json, "One JSON object a session");
    return command;
  };
  add("list", "All sessions", &RunList);
  const auto add_for_one = [&](const char* name, const char* help,
                               absl::Status (*run)(const SessionsOptions&)) {
    CLI::App* command = add(name, help, run);
    command->add_option("session", options->session, "Session id")->required();
    return command;
  };
  add_for_one("show", "One session", &RunShow);
  add_for_one("touch", "Says that a session will be used soon", &RunTouch)
      ->add_flag("--prefetch", options->prefetch, "Restore it into a worker now");
  add_for_one("close", "Deletes a session everywhere", &RunClose);
}

}  // namespace lckv
