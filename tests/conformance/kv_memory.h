#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "engine/ops/backend.h"
#include "tests/conformance/case_data.h"
#include "tests/conformance/op_cases.h"

namespace lckv::testing {

// Keys and values of all sequences of a case as float32 that `dtype` holds exactly:
// [sequence][position][kv_head][head_dim].
class KvValues {
 public:
  KvValues(const KvSpec& spec, uint32_t seed);

  const float* key(int sequence, int position, int kv_head) const;
  const float* value(int sequence, int position, int kv_head) const;
  float* mutable_key(int sequence, int position, int kv_head);
  // Rounds everything to the dtype again, after changes.
  void Round();

 private:
  size_t Index(int sequence, int position, int kv_head) const;

  const KvSpec spec_;
  std::vector<size_t> first_position_;  // of each sequence
  std::vector<float> keys_;
  std::vector<float> values_;
};

// Pages of all sequences in backend memory, in shuffled order and with room around the producer's
// data, and their tables. Slots that no table entry covers hold `fill`.
class KvMemory {
 public:
  // `values` null: all slots hold `fill`.
  KvMemory(Backend& backend, const KvSpec& spec, const KvValues* values, uint8_t fill);

  const KvTable* tables() const { return tables_->as<const KvTable>(); }
  KvShape shape() const;

  // Reads the pages back and takes K and V of `rows` out of them: [row][kv_head]{K, V}. Every byte
  // elsewhere must be as it was.
  std::vector<float> ReadRows(const std::vector<RowSpec>& rows, std::string* stray_write) const;

 private:
  struct Sequence {
    std::vector<size_t> past_pages;  // page numbers in memory
    std::vector<size_t> own_pages;
    int own_first_page = 0;
    int split = 0;
    bool shared = false;  // own pages are the past pages
  };

  void PlacePages();
  void WriteValues(const KvValues& values);
  void MakeTables();
  size_t KeyOffset(const RowSpec& row, int kv_head) const;  // in memory
  std::vector<void*> Addresses(const std::vector<size_t>& pages) const;

  Backend& backend_;
  const KvSpec spec_;
  const size_t element_bytes_;
  const size_t plane_bytes_;  // K or V of one kv head
  const size_t page_bytes_;
  std::vector<Sequence> sequences_;
  std::vector<uint8_t> initial_;
  DeviceBuffer memory_;
  std::vector<DeviceArray> page_arrays_;
  std::unique_ptr<DeviceArray> tables_;
};

}  // namespace lckv::testing
