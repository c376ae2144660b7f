#pragma once

#include <CLI/CLI.hpp>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "lckv/v1/inference.grpc.pb.h"
#include "rpc/tls_files.h"

namespace lckv {

inline constexpr char kDefaultServer[] = "127.0.0.1:7400";

// How a gateway is reached.
struct GatewayFlags {
  std::string server = kDefaultServer;  // host:port
  bool tls = false;                     // also if one of the files is named
  TlsFiles tls_files;                   // no authority: the system's
  std::string tls_name;                 // verified instead of the host of `server`
  std::string api_key;
};

// --server, --tls, --tls-ca, --tls-cert, --tls-key, --tls-name and --api-key (or LCKV_API_KEY).
void AddGatewayFlags(CLI::App& command, GatewayFlags* flags);

// INVALID_ARGUMENT for flags that do not go together, FAILED_PRECONDITION for files that are not
// fit. Connects when it is first used.
absl::StatusOr<std::shared_ptr<grpc::Channel>> MakeGatewayChannel(const GatewayFlags& flags);

// A client of a gateway; connects when it is first used.
class GatewayClient {
 public:
  // Errors as MakeGatewayChannel.
  static absl::StatusOr<GatewayClient> Make(const GatewayFlags& flags);

  v1::Inference::Stub& stub() const { return *stub_; }
  // For one call; carries the API key.
  std::unique_ptr<grpc::ClientContext> NewCall() const;
  // What came of a call, with a hint where the transport's own words say little.
  absl::Status ToStatus(const grpc::Status& status) const;

 private:
  bool plain_ = true;
  std::string authorization_;
  std::unique_ptr<v1::Inference::Stub> stub_;
};

// Enum values as users write and read them: lower case, "cache_node".
std::string Name(v1::FinishReason reason);
std::string Name(v1::RestoreSource source);
std::string Name(v1::SessionInfo::State state);
std::string Name(v1::Durability durability);
// "iterated", "iterated(12)", "sequential".
std::string Name(const v1::EncodePolicy& policy);
// The way back of the last two. INVALID_ARGUMENT.
absl::StatusOr<v1::EncodePolicy> ParseEncodePolicy(absl::string_view text);
absl::StatusOr<v1::Durability> ParseDurability(absl::string_view text);

}  // namespace lckv
