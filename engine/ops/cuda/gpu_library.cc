#include "engine/ops/cuda/gpu_library.h"

#include <dlfcn.h>
#include <elf.h>

#include <cstring>
#include <filesystem>
#include <fstream>
#include <system_error>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "base/status_macros.h"

namespace lckv {
namespace {

// Where a library may lie, best first.
std::vector<std::string> Candidates(const std::string& file) {
  if (file.find('/') != std::string::npos) return {file};
  std::vector<std::string> candidates;
  std::error_code error;
  const std::filesystem::path program = std::filesystem::read_symlink("/proc/self/exe", error);
  if (!error) {
    for (const auto& folder :
         {program.parent_path(), program.parent_path().parent_path() / "lib"}) {
      if (std::filesystem::exists(folder / file, error)) candidates.push_back(folder / file);
    }
  }
  candidates.push_back(file);
  return candidates;
}

// A shared object that is shorter than its headers say ends the process when it is opened (SIGBUS):
// a copy that broke off must be found before.
absl::Status CheckWhole(const std::string& file) {
  std::ifstream stream(file, std::ios::binary);
  Elf64_Ehdr header = {};
  if (!stream.read(reinterpret_cast<char*>(&header), sizeof(header)) ||
      std::memcmp(header.e_ident, ELFMAG, SELFMAG) != 0 || header.e_ident[EI_CLASS] != ELFCLASS64) {
    return absl::FailedPreconditionError(absl::StrCat(file, " is no shared library"));
  }
  stream.seekg(0, std::ios::end);
  const auto size = static_cast<uint64_t>(stream.tellg());
  // Linkers write the section headers last.
  const uint64_t end = header.e_shoff + uint64_t{header.e_shnum} * header.e_shentsize;
  if (header.e_shoff > size || end > size) {
    return absl::FailedPreconditionError(
        absl::StrCat(file, " is cut short: ", size, " bytes of ", end));
  }
  return absl::OkStatus();
}

}  // namespace

const char kCudaLibrary[] = "liblckv_cuda.so";
const char kSimulatedCudaLibrary[] = "liblckv_cuda_sim.so";

absl::StatusOr<const gpu::GpuApi*> OpenGpuLibrary(const std::string& file) {
  std::string problem;
  for (const std::string& candidate : Candidates(file)) {
    std::error_code error;
    if (std::filesystem::is_regular_file(candidate, error)) {
      LCKV_RETURN_IF_ERROR(CheckWhole(candidate));
    }
    void* library = dlopen(candidate.c_str(), RTLD_NOW | RTLD_LOCAL);
    if (library == nullptr) {
      if (problem.empty()) problem = dlerror();
      continue;
    }
    using Entry = const gpu::GpuApi* (*)();
    const auto entry = reinterpret_cast<Entry>(dlsym(library, gpu::kApiSymbol));
    if (entry == nullptr) {
      return absl::FailedPreconditionError(absl::StrCat(candidate, " is no GPU library of lckv"));
    }
    const gpu::GpuApi* api = entry();
    if (api->version != gpu::kApiVersion || api->size != sizeof(gpu::GpuApi)) {
      return absl::FailedPreconditionError(absl::StrCat(candidate, " has GPU interface ",
                                                        api->version, ", this program wants ",
                                                        gpu::kApiVersion));
    }
    return api;
  }
  return absl::UnavailableError(absl::StrCat("no GPU library: ", problem));
}

}  // namespace lckv
