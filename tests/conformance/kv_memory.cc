#include "tests/conformance/kv_memory.h"

#include <algorithm>
#include <cstring>

#include "absl/strings/str_cat.h"
#include "base/check.h"
#include "engine/tensor/host_matrix.h"

namespace lckv::testing {
namespace {

// Different, and not multiples of a vector: an op that forgets one shows it.
constexpr size_t kPastOffsetBytes = 32;
constexpr size_t kOwnOffsetBytes = 96;
constexpr size_t kHeadGapBytes = 16;
constexpr size_t kPageTailBytes = 160;

float ReadValue(const uint8_t* p, DType dtype) {
  float value;
  DequantizeRow({p, dtype, 1, 1}, 0, &value);
  return value;
}

void RoundTo(DType dtype, std::vector<float>& values) {
  for (float& value : values) {
    uint8_t stored[4];
    QuantizeRow(&value, 1, dtype, stored);
    value = ReadValue(stored, dtype);
  }
}

}  // namespace

KvValues::KvValues(const KvSpec& spec, uint32_t seed) : spec_(spec) {
  size_t positions = 0;
  for (const SequenceSpec& sequence : spec.sequences) {
    first_position_.push_back(positions);
    positions += static_cast<size_t>(sequence.length);
  }
  const size_t count = positions * static_cast<size_t>(spec.kv_heads * spec.head_dim);
  keys_ = Gaussian(count, seed);
  values_ = Gaussian(count, seed + 1);
  Round();
}

void KvValues::Round() {
  RoundTo(spec_.dtype, keys_);
  RoundTo(spec_.dtype, values_);
}

size_t KvValues::Index(int sequence, int position, int kv_head) const {
  const size_t slot =
      first_position_[static_cast<size_t>(sequence)] + static_cast<size_t>(position);
  const size_t head = slot * static_cast<size_t>(spec_.kv_heads) + static_cast<size_t>(kv_head);
  return head * static_cast<size_t>(spec_.head_dim);
}

const float* KvValues::key(int sequence, int position, int kv_head) const {
  return keys_.data() + Index(sequence, position, kv_head);
}
const float* KvValues::value(int sequence, int position, int kv_head) const {
  return values_.data() + Index(sequence, position, kv_head);
}
float* KvValues::mutable_key(int sequence, int position, int kv_head) {
  return keys_.data() + Index(sequence, position, kv_head);
}

KvMemory::KvMemory(Backend& backend, const KvSpec& spec, const KvValues* values, uint8_t fill)
    : backend_(backend),
      spec_(spec),
      element_bytes_(static_cast<size_t>(BytesOf(spec.dtype, 1))),
      plane_bytes_(static_cast<size_t>(spec.tokens_per_page * spec.head_dim) * element_bytes_),
      page_bytes_(kOwnOffsetBytes +
                  static_cast<size_t>(spec.kv_heads) * (2 * plane_bytes_ + kHeadGapBytes) +
                  kPageTailBytes) {
  PlacePages();
  std::fill(initial_.begin(), initial_.end(), fill);
  if (values != nullptr) WriteValues(*values);
  auto memory = backend.Allocate(initial_.size());
  LCKV_CHECK(memory.ok());
  memory_ = *std::move(memory);
  backend.CopyToDevice(memory_.data(), initial_.data(), initial_.size());
  MakeTables();
}

void KvMemory::PlacePages() {
  size_t pages = 0;
  for (const SequenceSpec& spec : spec_.sequences) {
    Sequence sequence;
    sequence.split = spec.split;
    sequence.shared = spec.split == 0;
    sequence.own_first_page = spec.split / spec_.tokens_per_page;
    const int past_end = sequence.shared ? spec.length : spec.split;
    const auto pages_of = [&](int end) {
      return (end + spec_.tokens_per_page - 1) / spec_.tokens_per_page;
    };
    for (int i = 0; i < pages_of(past_end); ++i) sequence.past_pages.push_back(pages++);
    if (!sequence.shared) {
      for (int i = sequence.own_first_page; i < pages_of(spec.length); ++i) {
        sequence.own_pages.push_back(pages++);
      }
    }
    sequences_.push_back(sequence);
  }
  // Last page first: neighbours in a sequence are not neighbours in memory.
  for (Sequence& sequence : sequences_) {
    for (size_t& page : sequence.past_pages) page = pages - 1 - page;
    for (size_t& page : sequence.own_pages) page = pages - 1 - page;
  }
  initial_.resize(pages * page_bytes_);
}

KvShape KvMemory::shape() const {
  return {.tokens_per_page = spec_.tokens_per_page,
          .kv_heads = spec_.kv_heads,
          .head_dim = spec_.head_dim,
          .head_stride_bytes = static_cast<int64_t>(2 * plane_bytes_ + kHeadGapBytes),
          .value_offset_bytes = static_cast<int64_t>(plane_bytes_)};
}

size_t KvMemory::KeyOffset(const RowSpec& row, int kv_head) const {
  const Sequence& sequence = sequences_[static_cast<size_t>(row.sequence)];
  const int page = row.position / spec_.tokens_per_page;
  const bool own = !sequence.shared && row.position >= sequence.split;
  const size_t number =
      own ? sequence.own_pages[static_cast<size_t>(page - sequence.own_first_page)]
          : sequence.past_pages[static_cast<size_t>(page)];
  const auto slot = static_cast<size_t>(row.position % spec_.tokens_per_page);
  return number * page_bytes_ + (own ? kOwnOffsetBytes : kPastOffsetBytes) +
         static_cast<size_t>(kv_head) * (2 * plane_bytes_ + kHeadGapBytes) +
         slot * static_cast<size_t>(spec_.head_dim) * element_bytes_;
}

void KvMemory::WriteValues(const KvValues& values) {
  for (int s = 0; s < static_cast<int>(sequences_.size()); ++s) {
    for (int p = 0; p < spec_.sequences[static_cast<size_t>(s)].length; ++p) {
      for (int h = 0; h < spec_.kv_heads; ++h) {
        uint8_t* key = initial_.data() + KeyOffset({s, p}, h);
        QuantizeRow(values.key(s, p, h), spec_.head_dim, spec_.dtype, key);
        QuantizeRow(values.value(s, p, h), spec_.head_dim, spec_.dtype, key + plane_bytes_);
      }
    }
  }
}

std::vector<void*> KvMemory::Addresses(const std::vector<size_t>& pages) const {
  std::vector<void*> addresses;
  for (size_t page : pages) addresses.push_back(memory_.bytes() + page * page_bytes_);
  return addresses;
}

void KvMemory::MakeTables() {
  std::vector<KvTable> tables;
  for (size_t s = 0; s < sequences_.size(); ++s) {
    const Sequence& sequence = sequences_[s];
    KvTable table;
    page_arrays_.emplace_back(backend_, Addresses(sequence.past_pages));
    table.past_pages = page_arrays_.back().as<void*>();
    table.past_offset_bytes = kPastOffsetBytes;
    table.own_pages = table.past_pages;
    table.own_offset_bytes = kPastOffsetBytes;
    if (!sequence.shared) {
      page_arrays_.emplace_back(backend_, Addresses(sequence.own_pages));
      table.own_pages = page_arrays_.back().as<void*>();
      table.own_offset_bytes = kOwnOffsetBytes;
      table.own_first_page = sequence.own_first_page;
      table.split = sequence.split;
    }
    table.visible_end = spec_.sequences[s].visible_end;
    tables.push_back(table);
  }
  tables_ = std::make_unique<DeviceArray>(backend_, tables);
}

std::vector<float> KvMemory::ReadRows(const std::vector<RowSpec>& rows,
                                      std::string* stray_write) const {
  LCKV_CHECK(backend_.Synchronize().ok());
  std::vector<uint8_t> now(initial_.size());
  backend_.CopyToHost(now.data(), memory_.data(), now.size());
  std::vector<float> values;
  const size_t row_bytes = static_cast<size_t>(spec_.head_dim) * element_bytes_;
  for (const RowSpec& row : rows) {
    for (int h = 0; h < spec_.kv_heads; ++h) {
      for (size_t plane : {size_t{0}, plane_bytes_}) {
        const size_t begin = KeyOffset(row, h) + plane;
        for (size_t i = 0; i < row_bytes; i += element_bytes_) {
          values.push_back(ReadValue(now.data() + begin + i, spec_.dtype));
        }
        std::copy_n(initial_.begin() + static_cast<int64_t>(begin), row_bytes,
                    now.begin() + static_cast<int64_t>(begin));
      }
    }
  }
  const auto changed = std::mismatch(now.begin(), now.end(), initial_.begin()).first;
  if (changed != now.end())
    *stray_write = absl::StrCat("byte ", changed - now.begin(), " of the pages");
  return values;
}

}  // namespace lckv::testing
