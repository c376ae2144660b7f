#include "services/cli/gateway_client.h"

#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "absl/time/clock.h"
#include "base/error_info.h"
#include "base/status_macros.h"
#include "rpc/channel.h"
#include "rpc/status_conversion.h"

namespace lckv {

namespace {

absl::StatusOr<ChannelSecurity> SecurityOf(const GatewayFlags& flags) {
  if (flags.tls_files.certificate.empty() != flags.tls_files.key.empty()) {
    return absl::InvalidArgumentError("want --tls-cert and --tls-key, or neither");
  }
  const bool plain = !flags.tls && flags.tls_files.empty();
  if (plain && !flags.tls_name.empty()) return absl::InvalidArgumentError("--tls-name wants --tls");
  if (plain) return ChannelSecurity();
  LCKV_ASSIGN_OR_RETURN(const TlsPems pems, ReadTlsFiles(flags.tls_files, absl::Now()));
  grpc::SslCredentialsOptions options;
  options.pem_root_certs = pems.authority;
  options.pem_private_key = pems.key;
  options.pem_cert_chain = pems.certificate;
  return ChannelSecurity{grpc::SslCredentials(options), flags.tls_name};
}

}  // namespace

void AddGatewayFlags(CLI::App& command, GatewayFlags* flags) {
  command.add_option("--server", flags->server, "Gateway, host:port")->capture_default_str();
  command.add_flag("--tls", flags->tls, "TLS; the server is verified");
  command.add_option("--tls-ca", flags->tls_files.authority,
                     "PEM certificates of who may sign the server's (default: the system's)");
  command.add_option("--tls-cert", flags->tls_files.certificate,
                     "PEM certificate of this client, where the server wants one");
  command.add_option("--tls-key", flags->tls_files.key, "PEM key of --tls-cert");
  command.add_option("--tls-name", flags->tls_name,
                     "Name in the server's certificate (default: the host of --server)");
  command
      .add_option("--api-key", flags->api_key,
                  "Better in LCKV_API_KEY: others can see command lines")
      ->envname("LCKV_API_KEY");
}

absl::StatusOr<std::shared_ptr<grpc::Channel>> MakeGatewayChannel(const GatewayFlags& flags) {
  LCKV_ASSIGN_OR_RETURN(const ChannelSecurity security, SecurityOf(flags));
  return MakeChannel(flags.server, security);
}

absl::StatusOr<GatewayClient> GatewayClient::Make(const GatewayFlags& flags) {
  LCKV_ASSIGN_OR_RETURN(const auto channel, MakeGatewayChannel(flags));
  GatewayClient client;
  client.plain_ = !flags.tls && flags.tls_files.empty();
  if (!flags.api_key.empty()) client.authorization_ = absl::StrCat("Bearer ", flags.api_key);
  client.stub_ = v1::Inference::NewStub(channel);
  return client;
}

std::unique_ptr<grpc::ClientContext> GatewayClient::NewCall() const {
  auto context = std::make_unique<grpc::ClientContext>();
  if (!authorization_.empty()) context->AddMetadata("authorization", authorization_);
  return context;
}

absl::Status GatewayClient::ToStatus(const grpc::Status& grpc_status) const {
  const absl::Status status = FromGrpcStatus(grpc_status);
  // The gateway's own refusals have a reason; the transport's do not.
  if (absl::IsUnavailable(status) && ErrorReason(status).empty() && plain_) {
    return absl::UnavailableError(
        absl::StrCat(status.message(), " (in plain text; a server that speaks TLS wants --tls)"));
  }
  if (absl::IsUnauthenticated(status) && authorization_.empty()) {
    return Annotate(status, "no --api-key and no LCKV_API_KEY");
  }
  return status;
}

std::string Name(v1::FinishReason reason) {
  return absl::AsciiStrToLower(v1::FinishReason_Name(reason));
}
std::string Name(v1::RestoreSource source) {
  return absl::AsciiStrToLower(v1::RestoreSource_Name(source));
}
std::string Name(v1::SessionInfo::State state) {
  return absl::AsciiStrToLower(v1::SessionInfo::State_Name(state));
}
std::string Name(v1::Durability durability) {
  return absl::AsciiStrToLower(v1::Durability_Name(durability));
}

std::string Name(const v1::EncodePolicy& policy) {
  if (policy.mode() == v1::EncodePolicy::SEQUENTIAL) return "sequential";
  return policy.passes() == 0 ? "iterated" : absl::StrCat("iterated(", policy.passes(), ")");
}

absl::StatusOr<v1::EncodePolicy> ParseEncodePolicy(absl::string_view text) {
  v1::EncodePolicy policy;
  if (text.empty() || text == "iterated") return policy;
  if (text == "sequential") {
    policy.set_mode(v1::EncodePolicy::SEQUENTIAL);
    return policy;
  }
  absl::string_view number = text;
  uint32_t passes = 0;
  if (absl::ConsumePrefix(&number, "iterated(") && absl::ConsumeSuffix(&number, ")") &&
      absl::SimpleAtoi(number, &passes) && passes > 0) {
    policy.set_passes(passes);
    return policy;
  }
  return absl::InvalidArgumentError(
      absl::StrCat("encode: '", text, "' is not iterated, iterated(K) or sequential"));
}

absl::StatusOr<v1::Durability> ParseDurability(absl::string_view text) {
  if (text.empty() || text == "durable") return v1::DURABLE;
  if (text == "memory") return v1::MEMORY;
  return absl::InvalidArgumentError(
      absl::StrCat("durability: '", text, "' is not durable or memory"));
}

}  // namespace lckv
