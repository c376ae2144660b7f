#include "rpc/tls.h"

#include <fcntl.h>
#include <grpcpp/security/tls_certificate_verifier.h>
#include <grpcpp/security/tls_credentials_options.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstring>
#include <functional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/time/clock.h"
#include "base/check.h"
#include "base/log.h"
#include "base/status_macros.h"

namespace lckv {
namespace {

namespace tls = grpc::experimental;

// How often gRPC looks at what was published; whole seconds.
constexpr unsigned int kPickUpSeconds = 1;

absl::string_view ToView(grpc::string_ref text) { return {text.data(), text.size()}; }

bool SameBytes(const TlsPems& a, const TlsPems& b) {
  return a.certificate == b.certificate && a.key == b.key && a.authority == b.authority;
}

}  // namespace

// A file without a name whose contents are replaced as one. gRPC's only provider whose certificates
// can change reads paths, and takes what it finds there for good, whole or not: so it gets paths of
// such files instead of those that somebody is writing.
class TlsIdentity::MemoryFile {
 public:
  // RESOURCE_EXHAUSTED: no descriptor or memory for it.
  static absl::StatusOr<std::unique_ptr<MemoryFile>> Create(absl::string_view bytes) {
    std::unique_ptr<MemoryFile> file(new MemoryFile(memfd_create("lckv-tls", MFD_CLOEXEC)));
    if (file->fd_ < 0 ||
        write(file->fd_, bytes.data(), bytes.size()) != static_cast<ssize_t>(bytes.size())) {
      return absl::ResourceExhaustedError(absl::StrCat("memory file: ", std::strerror(errno)));
    }
    return file;
  }
  ~MemoryFile() {
    if (fd_ >= 0) close(fd_);
  }
  MemoryFile(const MemoryFile&) = delete;
  MemoryFile& operator=(const MemoryFile&) = delete;

  // The path becomes that of the other file's contents.
  void TakeOver(const MemoryFile& other) { LCKV_CHECK(dup3(other.fd_, fd_, O_CLOEXEC) == fd_); }
  std::string path() const { return absl::StrCat("/proc/self/fd/", fd_); }

 private:
  explicit MemoryFile(int fd) : fd_(fd) {}

  const int fd_;
};

// Lets peers pass whose certificate, which gRPC has verified already, has one of `roles`.
class TlsIdentity::RoleVerifier final : public tls::ExternalCertificateVerifier {
 public:
  explicit RoleVerifier(std::vector<std::string> roles) : roles_(std::move(roles)) {}

  bool Verify(tls::TlsCustomVerificationCheckRequest* request, std::function<void(grpc::Status)>,
              grpc::Status* status) override {
    const std::vector<grpc::string_ref> names = request->dns_names();
    const bool known = std::any_of(names.begin(), names.end(), [this](grpc::string_ref name) {
      return std::find(roles_.begin(), roles_.end(), ToView(name)) != roles_.end();
    });
    if (!known) {
      const std::string wanted = absl::StrJoin(roles_, " or ");
      LogRefusal(wanted, names);
      *status = grpc::Status(grpc::StatusCode::UNAUTHENTICATED,
                             absl::StrCat("the peer's certificate lacks the DNS name ", wanted));
    }
    return true;
  }
  void Cancel(tls::TlsCustomVerificationCheckRequest*) override {}

 private:
  // Once a second at most: peers decide how often they come.
  void LogRefusal(absl::string_view wanted, const std::vector<grpc::string_ref>& names) {
    const int64_t now = absl::ToUnixSeconds(absl::Now());
    if (last_logged_.exchange(now) == now) return;
    const auto append = [](std::string* out, grpc::string_ref name) {
      absl::StrAppend(out, ToView(name));
    };
    LogWarning("peer refused", {{"wanted", wanted}, {"names", absl::StrJoin(names, " ", append)}});
  }

  const std::vector<std::string> roles_;
  std::atomic<int64_t> last_logged_{0};
};

absl::StatusOr<std::unique_ptr<TlsIdentity>> TlsIdentity::Load(TlsOptions options) {
  std::unique_ptr<TlsIdentity> identity(new TlsIdentity(std::move(options)));
  LCKV_ASSIGN_OR_RETURN(TlsPems pems, identity->Read());
  LCKV_RETURN_IF_ERROR(identity->Start(std::move(pems)));
  return identity;
}

TlsIdentity::TlsIdentity(TlsOptions options) : options_(std::move(options)) {}

absl::StatusOr<TlsIdentity::Published> TlsIdentity::Publish(const TlsPems& pems) {
  Published published;
  LCKV_ASSIGN_OR_RETURN(published.authority, MemoryFile::Create(pems.authority));
  LCKV_ASSIGN_OR_RETURN(published.key, MemoryFile::Create(pems.key));
  LCKV_ASSIGN_OR_RETURN(published.certificate, MemoryFile::Create(pems.certificate));
  return published;
}

absl::Status TlsIdentity::Start(TlsPems pems) {
  LCKV_ASSIGN_OR_RETURN(published_, Publish(pems));
  provider_ = std::make_shared<tls::FileWatcherCertificateProvider>(
      published_.key->path(), published_.certificate->path(),
      pems.authority.empty() ? "" : published_.authority->path(), kPickUpSeconds);
  in_use_ = std::move(pems);
  {
    MutexLock lock(listener_mu_);
    not_after_ = in_use_.not_after;
  }
  watcher_ = std::thread([this] { Watch(); });
  return absl::OkStatus();
}

TlsIdentity::~TlsIdentity() {
  if (!watcher_.joinable()) return;
  {
    MutexLock lock(mu_);
    stopping_ = true;
  }
  stop_.NotifyAll();
  watcher_.join();
}

absl::StatusOr<TlsPems> TlsIdentity::Read() const {
  const absl::Time now = absl::Now();
  LCKV_ASSIGN_OR_RETURN(TlsPems pems, ReadTlsFiles(options_.files, now));
  if (!options_.role.empty()) {
    LCKV_RETURN_IF_ERROR(
        Annotate(CheckComponent(pems, options_.role, now), options_.files.certificate));
  }
  return pems;
}

void TlsIdentity::Watch() {
  while (WaitForNextLook()) Look();
}

absl::StatusOr<bool> TlsIdentity::TakeWhatIsNew() {
  LCKV_ASSIGN_OR_RETURN(TlsPems pems, Read());
  if (SameBytes(pems, in_use_)) return false;
  LCKV_ASSIGN_OR_RETURN(const Published next, Publish(pems));
  published_.authority->TakeOver(*next.authority);
  published_.key->TakeOver(*next.key);
  published_.certificate->TakeOver(*next.certificate);
  in_use_ = std::move(pems);
  return true;
}

void TlsIdentity::Look() {
  const absl::StatusOr<bool> changed = TakeWhatIsNew();
  // What was said once is not said again with every look.
  if (changed.status() == last_ && !changed.value_or(false)) return;
  last_ = changed.status();
  if (last_.ok()) {
    LogInfo("certificate loaded", {{"file", options_.files.certificate},
                                   {"not_after", absl::FormatTime(in_use_.not_after)}});
  } else {
    LogError("certificate not loaded, the former one stays in use",
             {{"status", last_.ToString()}, {"not_after", absl::FormatTime(in_use_.not_after)}});
  }
  MutexLock lock(listener_mu_);
  not_after_ = in_use_.not_after;
  if (listener_) listener_(last_, not_after_);
}

void TlsIdentity::SetListener(Listener listener) {
  MutexLock lock(listener_mu_);
  listener_ = std::move(listener);
  listener_(absl::OkStatus(), not_after_);
}

bool TlsIdentity::WaitForNextLook() {
  MutexLock lock(mu_);
  const absl::Time next = absl::Now() + options_.refresh;
  while (!stopping_) {
    const absl::Duration left = next - absl::Now();
    if (left <= absl::ZeroDuration()) return true;
    stop_.WaitWithTimeout(mu_, left);
  }
  return false;
}

std::shared_ptr<grpc::ServerCredentials> TlsIdentity::ServerCredentialsFor(
    std::vector<std::string> roles) const {
  tls::TlsServerCredentialsOptions options(provider_);
  options.watch_identity_key_cert_pairs();
  options.watch_root_certs();
  options.set_cert_request_type(GRPC_SSL_REQUEST_AND_REQUIRE_CLIENT_CERTIFICATE_AND_VERIFY);
  options.set_certificate_verifier(
      tls::ExternalCertificateVerifier::Create<RoleVerifier>(std::move(roles)));
  return tls::TlsServerCredentials(options);
}

std::shared_ptr<grpc::ServerCredentials> TlsIdentity::PublicServerCredentials(
    bool want_certificate) const {
  tls::TlsServerCredentialsOptions options(provider_);
  options.watch_identity_key_cert_pairs();
  if (want_certificate) {
    options.watch_root_certs();
    options.set_cert_request_type(GRPC_SSL_REQUEST_AND_REQUIRE_CLIENT_CERTIFICATE_AND_VERIFY);
  }
  return tls::TlsServerCredentials(options);
}

ChannelSecurity TlsIdentity::ChannelSecurityFor(const std::string& role) const {
  tls::TlsChannelCredentialsOptions options;
  options.set_certificate_provider(provider_);
  options.watch_identity_key_cert_pairs();
  options.watch_root_certs();
  options.set_certificate_verifier(
      tls::ExternalCertificateVerifier::Create<RoleVerifier>(std::vector<std::string>{role}));
  // The role is what is verified, not the host of a call.
  options.set_check_call_host(false);
  return {tls::TlsCredentials(options), role};
}

std::shared_ptr<grpc::ServerCredentials> ServerCredentialsFor(const TlsIdentity* identity,
                                                              std::vector<std::string> roles) {
  return identity == nullptr ? nullptr : identity->ServerCredentialsFor(std::move(roles));
}

ChannelSecurity ChannelSecurityFor(const TlsIdentity* identity, const std::string& role) {
  return identity == nullptr ? ChannelSecurity() : identity->ChannelSecurityFor(role);
}

}  // namespace lckv
