#include "engine/model/gguf_file.h"

#include <cstring>
#include <optional>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "base/status_macros.h"

namespace lckv {
namespace {

constexpr uint32_t kVersion = 3;
constexpr uint64_t kMaxKeys = 100'000;
constexpr uint64_t kMaxTensors = 100'000;
constexpr uint32_t kMaxDims = 4;
constexpr uint64_t kMaxNameBytes = 65'535;
constexpr int64_t kMaxAlignment = int64_t{1} << 20;
constexpr int64_t kDefaultAlignment = 32;

// Metadata value types, as numbered by the format.
enum class Type : uint32_t {
  kUint8 = 0,
  kInt8 = 1,
  kUint16 = 2,
  kInt16 = 3,
  kUint32 = 4,
  kInt32 = 5,
  kFloat32 = 6,
  kBool = 7,
  kString = 8,
  kArray = 9,
  kUint64 = 10,
  kInt64 = 11,
  kFloat64 = 12,
};

// The fewest bytes that a value takes in the file; 0 for a type that the format does not have.
int64_t MinBytes(Type type) {
  switch (type) {
    case Type::kUint8:
    case Type::kInt8:
    case Type::kBool:
      return 1;
    case Type::kUint16:
    case Type::kInt16:
      return 2;
    case Type::kUint32:
    case Type::kInt32:
    case Type::kFloat32:
      return 4;
    case Type::kString:  // its length
    case Type::kUint64:
    case Type::kInt64:
    case Type::kFloat64:
      return 8;
    case Type::kArray:
      return 12;  // element type and count
  }
  return 0;
}

std::optional<DType> FromGgmlType(uint32_t type) {
  switch (type) {
    case 0:
      return DType::kF32;
    case 1:
      return DType::kF16;
    case 3:
      return DType::kQ4_1;
    case 8:
      return DType::kQ8_0;
    case 30:
      return DType::kBf16;
    default:
      return std::nullopt;
  }
}

template <typename T>
const char* TypeName() {
  if constexpr (std::is_same_v<T, int64_t>) return "an integer";
  if constexpr (std::is_same_v<T, double>) return "a number";
  if constexpr (std::is_same_v<T, bool>) return "a bool";
  if constexpr (std::is_same_v<T, std::string>) return "a string";
  if constexpr (std::is_same_v<T, GgufFile::Strings>) return "an array of strings";
  if constexpr (std::is_same_v<T, GgufFile::Ints>) return "an array of integers";
  return "an array of numbers";
}

template <typename T>
absl::StatusOr<T> Get(const GgufFile& file, absl::string_view key) {
  const GgufFile::Value* value = file.Find(key);
  if (value == nullptr) {
    return absl::NotFoundError(absl::StrCat(file.path(), ": no key \"", key, "\""));
  }
  if (const T* typed = std::get_if<T>(value)) return *typed;
  return absl::InvalidArgumentError(
      absl::StrCat(file.path(), ": key \"", key, "\" is not ", TypeName<T>()));
}

}  // namespace

// Walks the file once from its start. Nothing is read, allocated or multiplied before it is known
// to fit.
class GgufFile::Reader {
 public:
  explicit Reader(GgufFile& out) : out_(out), file_(*out.file_) {}

  absl::Status Read() {
    LCKV_ASSIGN_OR_RETURN(const Counts counts, ReadHeader());
    for (uint64_t i = 0; i < counts.keys; ++i) LCKV_RETURN_IF_ERROR(ReadKeyValue());
    for (uint64_t i = 0; i < counts.tensors; ++i) LCKV_RETURN_IF_ERROR(ReadTensorInfo());
    where_ = "general.alignment";
    return PlaceTensors();
  }

 private:
  struct Counts {
    uint64_t tensors = 0;
    uint64_t keys = 0;
  };

  int64_t remaining() const { return file_.size_bytes() - position_; }

  absl::Status Error(absl::string_view problem) const {
    return absl::InvalidArgumentError(absl::StrCat(file_.path(), ": ", where_, ": ", problem));
  }

  template <typename T>
  absl::StatusOr<T> Scalar() {
    if (remaining() < static_cast<int64_t>(sizeof(T))) return Error("the file ends early");
    T value;
    std::memcpy(&value, file_.data() + position_, sizeof(T));
    position_ += static_cast<int64_t>(sizeof(T));
    return value;
  }

  absl::StatusOr<std::string> String(uint64_t max_bytes) {
    LCKV_ASSIGN_OR_RETURN(const uint64_t size, Scalar<uint64_t>());
    if (size > static_cast<uint64_t>(remaining())) return Error("a string ends after the file");
    if (size > max_bytes) return Error("a name is too long");
    std::string text(file_.view().substr(static_cast<size_t>(position_), size));
    position_ += static_cast<int64_t>(size);
    return text;
  }

  absl::StatusOr<Counts> ReadHeader() {
    where_ = "header";
    if (file_.view().substr(0, 4) != "GGUF") return Error("not a GGUF file");
    position_ = 4;
    LCKV_ASSIGN_OR_RETURN(const uint32_t version, Scalar<uint32_t>());
    if (version != kVersion) {
      return absl::UnimplementedError(
          absl::StrCat(file_.path(), ": GGUF version ", version, " is not supported, only 3"));
    }
    Counts counts;
    LCKV_ASSIGN_OR_RETURN(counts.tensors, Scalar<uint64_t>());
    LCKV_ASSIGN_OR_RETURN(counts.keys, Scalar<uint64_t>());
    if (counts.tensors > kMaxTensors) return Error("too many tensors");
    if (counts.keys > kMaxKeys) return Error("too many keys");
    return counts;
  }

  absl::Status ReadKeyValue() {
    where_ = absl::StrCat("key ", out_.values_.size());
    LCKV_ASSIGN_OR_RETURN(std::string key, String(kMaxNameBytes));
    where_ = absl::StrCat("key \"", key, "\"");
    LCKV_ASSIGN_OR_RETURN(const uint32_t type, Scalar<uint32_t>());
    LCKV_ASSIGN_OR_RETURN(Value value, ReadValue(static_cast<Type>(type)));
    if (!out_.values_.emplace(std::move(key), std::move(value)).second) return Error("given twice");
    return absl::OkStatus();
  }

  absl::StatusOr<Value> ReadValue(Type type) {
    switch (type) {
      case Type::kFloat32:
      case Type::kFloat64: {
        LCKV_ASSIGN_OR_RETURN(const double value, Float(type));
        return Value(value);
      }
      case Type::kBool: {
        LCKV_ASSIGN_OR_RETURN(const int64_t value, Int(type));
        return Value(value != 0);
      }
      case Type::kString: {
        LCKV_ASSIGN_OR_RETURN(std::string value, String(UINT64_MAX));
        return Value(std::move(value));
      }
      case Type::kArray:
        return Array();
      default: {
        LCKV_ASSIGN_OR_RETURN(const int64_t value, Int(type));
        return Value(value);
      }
    }
  }

  absl::StatusOr<double> Float(Type type) {
    if (type == Type::kFloat64) return Scalar<double>();
    return Scalar<float>();
  }

  absl::StatusOr<int64_t> Int(Type type) {
    switch (type) {
      case Type::kUint8:
        return Scalar<uint8_t>();
      case Type::kInt8:
        return Scalar<int8_t>();
      case Type::kUint16:
        return Scalar<uint16_t>();
      case Type::kInt16:
        return Scalar<int16_t>();
      case Type::kUint32:
        return Scalar<uint32_t>();
      case Type::kInt32:
        return Scalar<int32_t>();
      case Type::kInt64:
        return Scalar<int64_t>();
      case Type::kUint64: {
        LCKV_ASSIGN_OR_RETURN(const uint64_t value, Scalar<uint64_t>());
        if (value > INT64_MAX) return Error("an integer over 2^63 - 1");
        return static_cast<int64_t>(value);
      }
      case Type::kBool: {
        LCKV_ASSIGN_OR_RETURN(const uint8_t value, Scalar<uint8_t>());
        if (value > 1) return Error("a bool that is neither 0 nor 1");
        return int64_t{value};
      }
      default:
        return Error(absl::StrCat("unknown value type ", static_cast<uint32_t>(type)));
    }
  }

  absl::StatusOr<Value> Array() {
    LCKV_ASSIGN_OR_RETURN(const uint32_t raw_type, Scalar<uint32_t>());
    LCKV_ASSIGN_OR_RETURN(const uint64_t count, Scalar<uint64_t>());
    const auto type = static_cast<Type>(raw_type);
    const int64_t min_bytes = MinBytes(type);
    if (min_bytes == 0) return Error(absl::StrCat("unknown value type ", raw_type));
    if (count > static_cast<uint64_t>(remaining() / min_bytes)) {
      return Error("an array ends after the file");
    }
    switch (type) {
      case Type::kArray:
        return absl::UnimplementedError(
            absl::StrCat(file_.path(), ": ", where_, ": arrays of arrays are not supported"));
      case Type::kString:
        return Elements<Strings>(count, [&] { return String(UINT64_MAX); });
      case Type::kFloat32:
      case Type::kFloat64:
        return Elements<Floats>(count, [&] { return Float(type); });
      default:
        return Elements<Ints>(count, [&] { return Int(type); });
    }
  }

  template <typename Vector, typename ReadOne>
  absl::StatusOr<Value> Elements(uint64_t count, ReadOne read_one) {
    Vector elements;
    elements.reserve(count);
    for (uint64_t i = 0; i < count; ++i) {
      LCKV_ASSIGN_OR_RETURN(auto element, read_one());
      elements.push_back(std::move(element));
    }
    return Value(std::move(elements));
  }

  absl::Status ReadTensorInfo() {
    where_ = absl::StrCat("tensor ", out_.tensors_.size());
    LCKV_ASSIGN_OR_RETURN(std::string name, String(kMaxNameBytes));
    where_ = absl::StrCat("tensor \"", name, "\"");
    LCKV_ASSIGN_OR_RETURN(const uint32_t num_dims, Scalar<uint32_t>());
    if (num_dims < 1 || num_dims > kMaxDims) {
      return Error(absl::StrCat(num_dims, " dimensions"));
    }
    TensorEntry entry;
    for (uint32_t i = 0; i < num_dims; ++i) {
      LCKV_ASSIGN_OR_RETURN(const uint64_t dim, Scalar<uint64_t>());
      if (dim < 1 || dim > INT64_MAX) return Error(absl::StrCat("dimension ", dim));
      entry.dims.push_back(static_cast<int64_t>(dim));
    }
    LCKV_ASSIGN_OR_RETURN(entry.type, Scalar<uint32_t>());
    LCKV_ASSIGN_OR_RETURN(const uint64_t offset, Scalar<uint64_t>());
    if (offset > static_cast<uint64_t>(file_.size_bytes())) {
      return Error("its data is after the file's end");
    }
    entry.offset_bytes = static_cast<int64_t>(offset);
    if (!out_.tensors_.emplace(std::move(name), std::move(entry)).second) {
      return Error("given twice");
    }
    return absl::OkStatus();
  }

  absl::StatusOr<int64_t> Alignment() const {
    const Value* value = out_.Find("general.alignment");
    if (value == nullptr) return kDefaultAlignment;
    const auto* alignment = std::get_if<int64_t>(value);
    if (alignment == nullptr) return Error("not an integer");
    if (*alignment < 1 || *alignment > kMaxAlignment || (*alignment & (*alignment - 1)) != 0) {
      return Error(absl::StrCat(*alignment, " is not a power of two up to ", kMaxAlignment));
    }
    return *alignment;
  }

  // Offsets so far count from the data section, which starts at the next aligned byte.
  absl::Status PlaceTensors() {
    LCKV_ASSIGN_OR_RETURN(const int64_t alignment, Alignment());
    const int64_t data_offset = (position_ + alignment - 1) & ~(alignment - 1);
    for (auto& [name, entry] : out_.tensors_) {
      where_ = absl::StrCat("tensor \"", name, "\"");
      if (entry.offset_bytes % alignment != 0) return Error("its data is not aligned");
      entry.offset_bytes += data_offset;
      LCKV_ASSIGN_OR_RETURN(entry.size_bytes, SizeBytes(entry));
      if (entry.offset_bytes > file_.size_bytes() ||
          entry.size_bytes > file_.size_bytes() - entry.offset_bytes) {
        return Error("its data ends after the file");
      }
    }
    return absl::OkStatus();
  }

  // INVALID_ARGUMENT when a row is no whole number of blocks or when there are more values than the
  // file has bits.
  absl::StatusOr<int64_t> SizeBytes(const TensorEntry& entry) const {
    const std::optional<DType> dtype = FromGgmlType(entry.type);
    if (!dtype.has_value()) return 0;
    if (IsQuantized(*dtype) && entry.dims[0] % kQuantBlock != 0) {
      return Error(absl::StrCat("rows of ", entry.dims[0], " values in blocks of ", kQuantBlock));
    }
    const int64_t max_values = 8 * file_.size_bytes();
    int64_t values = 1;
    for (const int64_t dim : entry.dims) {
      if (dim > max_values / values) return Error("its data ends after the file");
      values *= dim;
    }
    return BytesOf(*dtype, values);
  }

  GgufFile& out_;
  const MappedFile& file_;
  int64_t position_ = 0;
  std::string where_;
};

absl::StatusOr<GgufFile> GgufFile::Open(const std::string& path) {
  LCKV_ASSIGN_OR_RETURN(MappedFile file, MappedFile::Open(path));
  GgufFile gguf;
  gguf.file_ = std::make_shared<const MappedFile>(std::move(file));
  LCKV_RETURN_IF_ERROR(Reader(gguf).Read());
  return gguf;
}

const GgufFile::Value* GgufFile::Find(absl::string_view key) const {
  const auto found = values_.find(key);
  return found == values_.end() ? nullptr : &found->second;
}

absl::StatusOr<int64_t> GgufFile::GetInt(absl::string_view key) const {
  return Get<int64_t>(*this, key);
}

absl::StatusOr<double> GgufFile::GetFloat(absl::string_view key) const {
  const Value* value = Find(key);
  if (value != nullptr && std::holds_alternative<int64_t>(*value)) {
    return static_cast<double>(std::get<int64_t>(*value));
  }
  return Get<double>(*this, key);
}

absl::StatusOr<bool> GgufFile::GetBool(absl::string_view key) const {
  return Get<bool>(*this, key);
}

absl::StatusOr<std::string> GgufFile::GetString(absl::string_view key) const {
  return Get<std::string>(*this, key);
}

absl::StatusOr<GgufFile::Strings> GgufFile::GetStrings(absl::string_view key) const {
  return Get<Strings>(*this, key);
}

absl::StatusOr<GgufFile::Ints> GgufFile::GetInts(absl::string_view key) const {
  return Get<Ints>(*this, key);
}

absl::StatusOr<GgufFile::Floats> GgufFile::GetFloats(absl::string_view key) const {
  return Get<Floats>(*this, key);
}

absl::StatusOr<HostMatrix> GgufFile::Tensor(absl::string_view name) const {
  const auto found = tensors_.find(name);
  if (found == tensors_.end()) {
    return absl::NotFoundError(absl::StrCat(path(), ": no tensor \"", name, "\""));
  }
  const TensorEntry& entry = found->second;
  const std::optional<DType> dtype = FromGgmlType(entry.type);
  if (!dtype.has_value()) {
    return absl::UnimplementedError(absl::StrCat(path(), ": tensor \"", name, "\" has ggml type ",
                                                 entry.type,
                                                 "; supported are F32, F16, BF16, Q8_0 and Q4_1"));
  }
  if (entry.dims.size() > 2) {
    return absl::UnimplementedError(
        absl::StrCat(path(), ": tensor \"", name, "\" has ", entry.dims.size(), " dimensions"));
  }
  HostMatrix matrix;
  matrix.data = file_->data() + entry.offset_bytes;
  matrix.dtype = *dtype;
  matrix.rows = entry.dims.size() == 2 ? entry.dims[1] : 1;
  matrix.cols = entry.dims[0];
  return matrix;
}

bool GgufFile::HasTensor(absl::string_view name) const {
  return tensors_.find(name) != tensors_.end();
}

std::vector<std::string> GgufFile::TensorNames() const {
  std::vector<std::string> names;
  for (const auto& [name, entry] : tensors_) names.push_back(name);
  return names;
}

}  // namespace lckv
