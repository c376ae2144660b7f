#pragma once

#include <grpcpp/security/server_credentials.h>
#include <grpcpp/security/tls_certificate_provider.h>

#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "base/mutex.h"
#include "rpc/channel.h"
#include "rpc/tls_files.h"

namespace lckv {

// Who a component is to its peers: a DNS subject alternative name of its certificate. Peers are
// dialled by pod or address, which no certificate can know beforehand, so what is verified is the
// role and not the host name. Contracts: deployments put them into certificates.
inline constexpr char kGatewayRole[] = "gateway.lckv";
inline constexpr char kWorkerRole[] = "worker.lckv";
inline constexpr char kCacheNodeRole[] = "cache-node.lckv";

struct TlsOptions {
  TlsFiles files;
  // Not empty: the files are a component's, all three, and CheckComponent holds for them.
  std::string role;
  absl::Duration refresh = absl::Seconds(5);  // how often the files are looked at
};

// Certificate, key and authority of this process for one purpose. Watches the files: connections
// made after a change use the new ones, a set that does not pass the checks is logged and the
// former one stays in use. Must outlive all servers and channels with its credentials. Thread-safe.
class TlsIdentity {
 public:
  // FAILED_PRECONDITION for files that do not pass the checks (tls_files.h), RESOURCE_EXHAUSTED
  // without descriptors for what gRPC reads.
  static absl::StatusOr<std::unique_ptr<TlsIdentity>> Load(TlsOptions options);
  ~TlsIdentity();
  TlsIdentity(const TlsIdentity&) = delete;
  TlsIdentity& operator=(const TlsIdentity&) = delete;

  // Calls `listener` now, with OK, and after each look that found something else: what came of it,
  // and until when the certificate in use is valid. Calls come one at a time.
  using Listener = std::function<void(const absl::Status&, absl::Time not_after)>;
  void SetListener(Listener listener);

  // Lets in clients whose certificate the authority has signed and that have one of `roles`.
  std::shared_ptr<grpc::ServerCredentials> ServerCredentialsFor(
      std::vector<std::string> roles) const;
  // Asks clients for no certificate, or, with `want_certificate`, for one that the authority has
  // signed, whatever its names.
  std::shared_ptr<grpc::ServerCredentials> PublicServerCredentials(bool want_certificate) const;
  // Presents the certificate, and talks to servers whose certificate the authority has signed and
  // that have the role.
  ChannelSecurity ChannelSecurityFor(const std::string& role) const;

 private:
  class MemoryFile;
  class RoleVerifier;

  explicit TlsIdentity(TlsOptions options);
  absl::StatusOr<TlsPems> Read() const;
  // What gRPC reads, in files of its own. RESOURCE_EXHAUSTED.
  struct Published {
    std::unique_ptr<MemoryFile> certificate, key, authority;
  };
  static absl::StatusOr<Published> Publish(const TlsPems& pems);
  absl::Status Start(TlsPems pems);
  void Watch();  // the watching thread
  // Looks at the files, takes what is new and good, and tells of it.
  void Look();
  // Whether there was something new. An error leaves what is in use.
  absl::StatusOr<bool> TakeWhatIsNew();
  // False when it is time to stop.
  bool WaitForNextLook();

  const TlsOptions options_;
  // Set by Start.
  Published published_;
  std::shared_ptr<grpc::experimental::CertificateProviderInterface> provider_;
  // Of the watching thread: what is published, and what came of the last look.
  TlsPems in_use_;
  absl::Status last_;
  Mutex listener_mu_;
  Listener listener_ ABSL_GUARDED_BY(listener_mu_);
  absl::Time not_after_ ABSL_GUARDED_BY(listener_mu_);
  Mutex mu_;
  CondVar stop_;
  bool stopping_ ABSL_GUARDED_BY(mu_) = false;
  std::thread watcher_;
};

// The same of an identity that may be null: plain text then.
std::shared_ptr<grpc::ServerCredentials> ServerCredentialsFor(const TlsIdentity* identity,
                                                              std::vector<std::string> roles);
ChannelSecurity ChannelSecurityFor(const TlsIdentity* identity, const std::string& role);

}  // namespace lckv
