#pragma once

#include <memory>
#include <string>
#include <vector>

#include "base/sha256.h"
#include "engine/model/mapped_file.h"

namespace lckv {

// The identity of a model's weights: SHA-256 over the digests of `files` in the order given. A
// file's digest is SHA-256 over its length and the SHA-256 of each 16 MiB chunk, so that all cores
// can hash it; the number of threads does not matter. File names do not enter.
//
// A file's digest is remembered in `cache_dir` (one small text file per device and inode) and
// trusted while the file's identity is the same: a restart then reads none of the weights. An
// absent or damaged entry is computed anew. A directory that cannot be written, or "", costs only
// time.
Sha256Digest DigestWeights(const std::vector<std::shared_ptr<const MappedFile>>& files,
                           const std::string& cache_dir);

// $XDG_CACHE_HOME/lckv or ~/.cache/lckv; empty when the environment has neither.
std::string DefaultDigestCacheDir();

// The digest of one file, always computed.
Sha256Digest DigestFile(const MappedFile& file, int threads);

}  // namespace lckv
