#pragma once

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"

namespace lckv {

// Paths of PEM files; empty: not given.
struct TlsFiles {
  std::string certificate;  // the certificate, then those between it and the authority's
  std::string key;          // its private key, without a password
  std::string authority;    // one or more certificates that sign those of peers

  bool empty() const { return certificate.empty() && key.empty() && authority.empty(); }
};

// What was read from them.
struct TlsPems {
  std::string certificate, key, authority;
  absl::Time not_before, not_after;    // of the certificate
  std::vector<std::string> dns_names;  // its DNS subject alternative names
};

// The files that are named, whole and fit to be used at `now`. FAILED_PRECONDITION, with the file
// and what is wrong with it: not readable, no PEM of its kind, a key of another certificate,
// expired or not yet valid. REQUIRES: certificate and key are both named, or neither is.
absl::StatusOr<TlsPems> ReadTlsFiles(const TlsFiles& files, absl::Time now);

// FAILED_PRECONDITION unless the authority has signed the certificate for both ends of a
// connection (extended key usage, if any: server and client), and the certificate has `role` among
// its DNS names. REQUIRES: certificate and authority are there.
absl::Status CheckComponent(const TlsPems& pems, absl::string_view role, absl::Time now);

}  // namespace lckv
