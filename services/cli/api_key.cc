// `lckv api-key new`: a key for a tenant, and its entry in the gateway's file of keys.

#include <fcntl.h>
#include <sys/random.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <fstream>
#include <iostream>
#include <iterator>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>

#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "base/check.h"
#include "base/sha256.h"
#include "base/status_macros.h"
#include "services/cli/command.h"
#include "services/cli/json_output.h"
#include "services/gateway/api_keys.h"

namespace lckv {
namespace {

constexpr char kPrefix[] = "lckv_";  // by which scanners find keys that leaked
constexpr size_t kKeyBytes = 32;

struct ApiKeyOptions {
  std::string tenant, name, expires, file;
};

std::string NewKey() {
  std::array<char, kKeyBytes> bytes;
  LCKV_CHECK(getrandom(bytes.data(), bytes.size(), 0) == static_cast<ssize_t>(bytes.size()));
  return absl::StrCat(kPrefix, absl::WebSafeBase64Escape({bytes.data(), bytes.size()}));
}

// Quoted for YAML, which reads JSON's strings.
std::string Quoted(const std::string& text) { return ToLine(text); }

std::string EntryOf(const ApiKeyOptions& options, absl::string_view key) {
  std::string entry = absl::StrCat("- tenant: ", Quoted(options.tenant),
                                   "\n  sha256: ", ToHex(Sha256Of(key)), "\n");
  if (!options.name.empty()) absl::StrAppend(&entry, "  name: ", Quoted(options.name), "\n");
  if (!options.expires.empty()) {
    absl::StrAppend(&entry, "  expires: ", Quoted(options.expires), "\n");
  }
  return entry;
}

// Appends in one write. A file that is made is its owner's alone.
absl::Status Append(const std::string& path, const std::string& entry) {
  std::ifstream file(path, std::ios::binary);
  std::string text((std::istreambuf_iterator<char>(file)), {});
  const std::string addition =
      text.empty() || absl::EndsWith(text, "\n") ? entry : absl::StrCat("\n", entry);
  LCKV_RETURN_IF_ERROR(Annotate(gateway::ApiKeys::Parse(text + addition).status(), path));
  const int fd = open(path.c_str(), O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600);
  const bool written = fd >= 0 && write(fd, addition.data(), addition.size()) ==
                                      static_cast<ssize_t>(addition.size());
  const int error = errno;
  if (fd >= 0) close(fd);
  if (written) return absl::OkStatus();
  return absl::FailedPreconditionError(absl::StrCat(path, ": ", std::strerror(error)));
}

absl::Status RunNew(const ApiKeyOptions& options) {
  const std::string key = NewKey();
  const std::string entry = EntryOf(options, key);
  LCKV_RETURN_IF_ERROR(gateway::ApiKeys::Parse(entry).status());
  if (options.file.empty()) {
    std::cout << key << "\n" << entry;
    return absl::OkStatus();
  }
  LCKV_RETURN_IF_ERROR(Append(options.file, entry));
  std::cout << key << "\n";
  return absl::OkStatus();
}

}  // namespace

void AddApiKey(CLI::App& tool, Action& chosen) {
  CLI::App* group = tool.add_subcommand("api-key", "Keys that let tenants in (gateway --api-keys)");
  group->require_subcommand(1);
  auto options = std::make_shared<ApiKeyOptions>();
  CLI::App* command =
      Declare(*group, "new",
              "Prints a new key, which is shown this once, and its entry in the file of keys",
              options, &RunNew, chosen);
  command->add_option("--tenant", options->tenant, "Whose sessions the key opens")->required();
  command->add_option("--name", options->name, "For people: where the key is used");
  command->add_option("--expires", options->expires, "2027-01-31 or 2027-01-31T12:00:00Z");
  command->add_option("--file", options->file, "Appends the entry here, and prints the key only");
}

}  // namespace lckv
