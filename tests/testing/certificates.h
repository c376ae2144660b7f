#pragma once

#include <memory>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "absl/time/time.h"

namespace lckv::testing {

struct CertificateRequest {
  std::vector<std::string> names = {};  // DNS subject alternative names
  // When it begins and ends, from now.
  absl::Duration begins = -absl::Hours(1);
  absl::Duration ends = absl::Hours(1);
  std::string usage = "serverAuth,clientAuth";
};

struct KeyPair {
  std::string certificate, key;  // PEM
};

// A certificate authority with a key of its own (P-256), made by OpenSSL for one test.
class TestAuthority {
 public:
  explicit TestAuthority(const std::string& name = "authority");
  ~TestAuthority();

  const std::string& certificate() const { return pem_; }
  KeyPair Sign(const CertificateRequest& request) const;

 private:
  struct Pair;
  const std::unique_ptr<Pair> pair_;
  std::string pem_;
};

// A new folder under the test's own, removed in the destructor.
class TestFolder {
 public:
  TestFolder();
  ~TestFolder();
  TestFolder(const TestFolder&) = delete;
  TestFolder& operator=(const TestFolder&) = delete;

  std::string Path(absl::string_view name) const;
  // Replaces the file as one. Returns its path.
  std::string Write(absl::string_view name, absl::string_view text) const;

 private:
  std::string path_;
};

}  // namespace lckv::testing
