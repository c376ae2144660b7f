#include "engine/tokenizer/tokenizer.h"

#include <filesystem>
#include <system_error>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "engine/model/gguf_file.h"
#include "engine/model/mapped_file.h"
#include "engine/tokenizer/bpe_tokenizer.h"
#include "engine/tokenizer/gguf_vocabulary.h"
#include "engine/tokenizer/tokenizer_json.h"

namespace lckv {
namespace {

// Published files reach 35 MB; the parsed form takes several times the file's size.
constexpr int64_t kMaxJsonBytes = int64_t{256} << 20;

absl::StatusOr<TokenizerDefinition> ReadDefinition(const std::string& path) {
  LCKV_ASSIGN_OR_RETURN(const MappedFile file, MappedFile::Open(path));
  if (absl::StartsWith(file.view(), "GGUF")) {
    LCKV_ASSIGN_OR_RETURN(const GgufFile gguf, GgufFile::Open(path));
    return ReadGgufVocabulary(gguf);
  }
  if (file.size_bytes() > kMaxJsonBytes) {
    return absl::InvalidArgumentError(
        absl::StrCat(path, ": neither GGUF nor a JSON file of at most ", kMaxJsonBytes, " bytes"));
  }
  absl::StatusOr<TokenizerDefinition> definition = ReadTokenizerJson(file.view());
  if (!definition.ok()) return Annotate(definition.status(), path);
  return definition;
}

}  // namespace

absl::StatusOr<std::unique_ptr<Tokenizer>> Tokenizer::Load(const std::string& path) {
  std::error_code error;  // a path that cannot be looked at is reported when it is opened
  const bool directory = std::filesystem::is_directory(path, error);
  const std::string file = directory ? absl::StrCat(path, "/tokenizer.json") : path;
  LCKV_ASSIGN_OR_RETURN(TokenizerDefinition definition, ReadDefinition(file));
  absl::StatusOr<std::unique_ptr<BpeTokenizer>> tokenizer =
      BpeTokenizer::Create(std::move(definition));
  if (!tokenizer.ok()) return Annotate(tokenizer.status(), file);
  return std::unique_ptr<Tokenizer>(*std::move(tokenizer));
}

}  // namespace lckv
