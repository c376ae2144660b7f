#include "engine/model/safetensors_file.h"

#include <algorithm>
#include <cstring>
#include <nlohmann/json.hpp>
#include <optional>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "base/status_macros.h"

namespace lckv {
namespace {

constexpr uint64_t kMaxHeaderBytes = 100'000'000;
constexpr size_t kMaxEntries = 100'000;
constexpr size_t kMaxDims = 8;
constexpr int64_t kLengthBytes = 8;

// Builds the entries while the JSON parser runs, so that a hostile header costs no more memory than
// its entries. Refuses what the format does not know; the parser then stops and `problem` says why.
class HeaderHandler final : public nlohmann::json_sax<nlohmann::json> {
 public:
  explicit HeaderHandler(SafetensorsFile::Entries& entries) : entries_(entries) {}

  const std::string& problem() const { return problem_; }

  bool null() override { return Unexpected(); }
  bool boolean(bool) override { return Unexpected(); }
  bool number_float(double, const std::string&) override { return Unexpected(); }
  bool number_integer(int64_t) override { return Fail("a negative number"); }
  bool number_unsigned(uint64_t value) override;
  bool string(std::string& value) override;
  bool binary(nlohmann::json::binary_t&) override { return Unexpected(); }
  bool start_object(size_t) override;
  bool key(std::string& name) override;
  bool end_object() override;
  bool start_array(size_t) override;
  bool end_array() override;
  bool parse_error(size_t position, const std::string&, const nlohmann::json::exception&) override {
    return Fail(absl::StrCat("malformed JSON at byte ", position));
  }

 private:
  enum class Place { kStart, kTop, kMetadata, kEntry, kShape, kOffsets };

  bool Fail(absl::string_view problem) {
    if (problem_.empty()) {
      problem_ =
          name_.empty() ? std::string(problem) : absl::StrCat("tensor \"", name_, "\": ", problem);
    }
    return false;
  }
  bool Unexpected() { return Fail("a value of the wrong type"); }

  SafetensorsFile::Entries& entries_;
  std::string problem_;
  Place place_ = Place::kStart;
  std::string name_;   // of the entry being read
  std::string field_;  // of the entry being read
  std::optional<std::string> dtype_;
  std::optional<std::vector<int64_t>> shape_;
  std::optional<std::vector<int64_t>> offsets_;
};

bool HeaderHandler::number_unsigned(uint64_t value) {
  if (place_ != Place::kShape && place_ != Place::kOffsets) return Unexpected();
  auto& numbers = place_ == Place::kShape ? *shape_ : *offsets_;
  if (value > INT64_MAX) return Fail("a number over 2^63 - 1");
  if (numbers.size() == kMaxDims) return Fail("too many numbers");
  numbers.push_back(static_cast<int64_t>(value));
  return true;
}

bool HeaderHandler::string(std::string& value) {
  if (place_ == Place::kMetadata) return true;
  if (place_ != Place::kEntry || field_ != "dtype") return Unexpected();
  if (dtype_.has_value()) return Fail("dtype given twice");
  dtype_ = std::move(value);
  return true;
}

bool HeaderHandler::start_object(size_t) {
  switch (place_) {
    case Place::kStart:
      place_ = Place::kTop;
      return true;
    case Place::kTop:
      place_ = name_ == "__metadata__" ? Place::kMetadata : Place::kEntry;
      dtype_.reset();
      shape_.reset();
      offsets_.reset();
      return true;
    default:
      return Unexpected();
  }
}

bool HeaderHandler::key(std::string& name) {
  if (place_ == Place::kTop) {
    name_ = std::move(name);
    if (entries_.count(name_) != 0) return Fail("given twice");
    return true;
  }
  if (place_ == Place::kEntry && name != "dtype" && name != "shape" && name != "data_offsets") {
    return Fail("unknown field");
  }
  field_ = std::move(name);
  return true;
}

bool HeaderHandler::end_object() {
  if (place_ == Place::kEntry) {
    if (!dtype_.has_value() || !shape_.has_value() || !offsets_.has_value()) {
      return Fail("without dtype, shape or data_offsets");
    }
    if (offsets_->size() != 2) return Fail("data_offsets: not two numbers");
    if (entries_.size() == kMaxEntries) return Fail("too many tensors");
    entries_.emplace(name_, SafetensorsFile::Entry{*std::move(dtype_), *std::move(shape_),
                                                   (*offsets_)[0], (*offsets_)[1]});
  }
  name_.clear();
  place_ = Place::kTop;  // after the outermost object the parser takes nothing more
  return true;
}

bool HeaderHandler::start_array(size_t) {
  if (place_ != Place::kEntry) return Unexpected();
  if (field_ == "shape" && !shape_.has_value()) {
    shape_.emplace();
    place_ = Place::kShape;
    return true;
  }
  if (field_ == "data_offsets" && !offsets_.has_value()) {
    offsets_.emplace();
    place_ = Place::kOffsets;
    return true;
  }
  return Unexpected();
}

bool HeaderHandler::end_array() {
  place_ = Place::kEntry;
  return true;
}

// Bytes of one value; 0 for a dtype that we have never heard of.
int64_t ValueBytes(absl::string_view dtype) {
  struct Known {
    absl::string_view name;
    int64_t bytes;
  };
  static constexpr Known kKnown[] = {{"F32", 4},  {"F16", 2},     {"BF16", 2},   {"F64", 8},
                                     {"I64", 8},  {"I32", 4},     {"I16", 2},    {"I8", 1},
                                     {"U64", 8},  {"U32", 4},     {"U16", 2},    {"U8", 1},
                                     {"BOOL", 1}, {"F8_E4M3", 1}, {"F8_E5M2", 1}};
  for (const Known& known : kKnown) {
    if (dtype == known.name) return known.bytes;
  }
  return 0;
}

absl::Status CheckSize(const SafetensorsFile::Entry& entry) {
  const int64_t value_bytes = ValueBytes(entry.dtype);
  if (value_bytes == 0) return absl::OkStatus();
  const int64_t range_bytes = entry.end_bytes - entry.begin_bytes;
  int64_t bytes = value_bytes;
  const bool no_values = std::count(entry.shape.begin(), entry.shape.end(), 0) > 0;
  for (const int64_t dim : entry.shape) {
    if (no_values) break;
    if (dim > range_bytes / bytes) {
      return absl::InvalidArgumentError("its shape needs more bytes than its data_offsets span");
    }
    bytes *= dim;
  }
  if (no_values) bytes = 0;
  if (bytes == range_bytes) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat("its shape needs ", bytes, " bytes, its data_offsets span ", range_bytes));
}

// Every byte of the data belongs to exactly one tensor.
absl::Status CheckCoverage(const SafetensorsFile::Entries& entries, int64_t data_bytes) {
  std::vector<const SafetensorsFile::Entries::value_type*> sorted;
  for (const auto& entry : entries) sorted.push_back(&entry);
  std::sort(sorted.begin(), sorted.end(), [](const auto* a, const auto* b) {
    return std::pair(a->second.begin_bytes, a->second.end_bytes) <
           std::pair(b->second.begin_bytes, b->second.end_bytes);
  });
  int64_t covered = 0;
  for (const auto* entry : sorted) {
    if (entry->second.begin_bytes != covered) {
      return absl::InvalidArgumentError(
          absl::StrCat("tensor \"", entry->first, "\": its data starts at ",
                       entry->second.begin_bytes, ", where the data before it ends at ", covered));
    }
    covered = entry->second.end_bytes;
  }
  if (covered == data_bytes) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat("tensors cover ", covered, " bytes of ", data_bytes, " bytes of data"));
}

std::optional<DType> ToDType(absl::string_view name) {
  if (name == "F32") return DType::kF32;
  if (name == "F16") return DType::kF16;
  if (name == "BF16") return DType::kBf16;
  return std::nullopt;
}

}  // namespace

absl::StatusOr<SafetensorsFile> SafetensorsFile::Open(const std::string& path) {
  LCKV_ASSIGN_OR_RETURN(MappedFile file, MappedFile::Open(path));
  SafetensorsFile opened;
  opened.file_ = std::make_shared<const MappedFile>(std::move(file));
  LCKV_RETURN_IF_ERROR(Annotate(opened.Read(), path));
  return opened;
}

absl::Status SafetensorsFile::Read() {
  const absl::string_view bytes = file_->view();
  uint64_t header_bytes = 0;
  if (file_->size_bytes() < kLengthBytes) return absl::InvalidArgumentError("header: too short");
  std::memcpy(&header_bytes, bytes.data(), sizeof(header_bytes));
  if (header_bytes > static_cast<uint64_t>(file_->size_bytes() - kLengthBytes)) {
    return absl::InvalidArgumentError("header: ends after the file");
  }
  if (header_bytes > kMaxHeaderBytes) return absl::InvalidArgumentError("header: too long");

  const absl::string_view header = bytes.substr(kLengthBytes, header_bytes);
  HeaderHandler handler(entries_);
  if (!nlohmann::json::sax_parse(header.begin(), header.end(), &handler)) {
    return absl::InvalidArgumentError(absl::StrCat("header: ", handler.problem()));
  }
  data_offset_ = kLengthBytes + static_cast<int64_t>(header_bytes);
  const int64_t data_bytes = file_->size_bytes() - data_offset_;
  for (const auto& [name, entry] : entries_) {
    if (entry.begin_bytes > entry.end_bytes || entry.end_bytes > data_bytes) {
      return absl::InvalidArgumentError(absl::StrCat("tensor \"", name, "\": data_offsets [",
                                                     entry.begin_bytes, ", ", entry.end_bytes,
                                                     ") in ", data_bytes, " bytes of data"));
    }
    LCKV_RETURN_IF_ERROR(Annotate(CheckSize(entry), absl::StrCat("tensor \"", name, "\"")));
  }
  return CheckCoverage(entries_, data_bytes);
}

absl::StatusOr<HostMatrix> SafetensorsFile::Tensor(absl::string_view name) const {
  const auto found = entries_.find(name);
  if (found == entries_.end()) {
    return absl::NotFoundError(absl::StrCat(path(), ": no tensor \"", name, "\""));
  }
  const Entry& entry = found->second;
  const std::optional<DType> dtype = ToDType(entry.dtype);
  if (!dtype.has_value()) {
    return absl::UnimplementedError(absl::StrCat(path(), ": tensor \"", name, "\" has dtype ",
                                                 entry.dtype.substr(0, 20),
                                                 "; supported are F32, F16 and BF16"));
  }
  if (entry.shape.empty() || entry.shape.size() > 2) {
    return absl::UnimplementedError(
        absl::StrCat(path(), ": tensor \"", name, "\" has ", entry.shape.size(), " dimensions"));
  }
  HostMatrix matrix;
  matrix.data = file_->data() + data_offset_ + entry.begin_bytes;
  matrix.dtype = *dtype;
  matrix.rows = entry.shape.size() == 2 ? entry.shape[0] : 1;
  matrix.cols = entry.shape.back();
  return matrix;
}

bool SafetensorsFile::HasTensor(absl::string_view name) const {
  return entries_.find(name) != entries_.end();
}

}  // namespace lckv
