// Turns a GGUF file in memory into one of our compressed files: every F32 matrix is rotated and trellis-coded
// without error feedback. And the same with the decoded values as F32, turned back: what it should compute.
#pragma once

#include "kernels/reference.h"
#include "support/gguf_writer.h"
#include "support/trellis_weights.h"

namespace nutshell::test {

inline constexpr uint64_t kCodedSeed = 4711;

struct CodedGguf {
  GgufWriter coded, decoded;
};

inline std::vector<float> turned(const std::vector<float>& values, int64_t n_cols, bool back) {
  std::vector<float> out;
  for (size_t i = 0; i < values.size(); i += static_cast<size_t>(n_cols))
    for (const double v : reference::rotate({values.begin() + static_cast<std::ptrdiff_t>(i),
                                             values.begin() + static_cast<std::ptrdiff_t>(i) + n_cols},
                                            kCodedSeed, back))
      out.push_back(static_cast<float>(v));
  return out;
}

// Formats go round NT2, NT3, NT4 unless one is given; every third tensor stays as it stood (not rotated).
inline CodedGguf code_gguf(const GgufWriter& source, std::optional<DType> only = {}) {
  CodedGguf out{source, source};
  std::vector<std::string> names, formats;
  std::vector<uint32_t> rows, columns, tables;
  std::vector<float> scales;
  std::vector<bool> rotated;
  Bytes sets;
  for (const DTypeInfo& info : kTrellisTypes) {
    const TrellisCode& code = default_trellis(info.dtype).code;
    sets.insert(sets.end(), code.t1, code.t1 + 16);
    sets.insert(sets.end(), code.t2, code.t2 + 16);
    for (const uint8_t b : {code.zero, code.start}) sets.push_back(b);
    sets.resize((sets.size() + 39) / 40 * 40);
  }
  for (size_t i = 0; i < source.tensors.size(); ++i) {
    const GgufWriter::Tensor& t = source.tensors[i];
    if (t.dims.size() != 2 || t.type != info_of(DType::f32).gguf_id) continue;
    const auto n_cols = static_cast<int64_t>(t.dims[0]), n_rows = static_cast<int64_t>(t.dims[1]);
    std::vector<float> values(t.data.size() / 4);
    std::memcpy(values.data(), t.data.data(), t.data.size());
    const bool turn = names.size() % 3 != 2;
    const DType dtype = only.value_or(kTrellisTypes[names.size() % 3].dtype);
    TrellisMatrix m = encode_trellis(dtype, turn ? turned(values, n_cols, false) : values, n_rows, n_cols);
    if (turn) m.values = turned(m.values, n_cols, true);
    names.push_back(t.name);
    formats.emplace_back(name_of(dtype));
    rows.push_back(static_cast<uint32_t>(n_rows));
    columns.push_back(static_cast<uint32_t>(n_cols));
    tables.push_back(static_cast<uint32_t>(trellis_bits(dtype) - 2));
    scales.push_back(1.0f);
    rotated.push_back(turn);
    GgufWriter::Tensor& coded = out.coded.tensors[i];
    coded.type = 24;  // I8
    coded.dims = {static_cast<uint64_t>(row_bytes(dtype, n_cols)),
                  static_cast<uint64_t>(stored_rows(dtype, n_rows))};
    coded.data = m.bytes;
    std::memcpy(out.decoded.tensors[i].data.data(), m.values.data(), m.values.size() * 4);
  }
  GgufWriter& w = out.coded;
  w.add("nutshell.version", uint32_t{1});
  w.add("nutshell.rotation.seed", kCodedSeed);
  w.add_array<uint8_t>("nutshell.tables", sets);
  w.add_strings("nutshell.coded.names", names);
  w.add_strings("nutshell.coded.formats", formats);
  w.add_array<uint32_t>("nutshell.coded.rows", rows);
  w.add_array<uint32_t>("nutshell.coded.columns", columns);
  w.add_array<uint32_t>("nutshell.coded.tables", tables);
  w.add_array<float>("nutshell.coded.scales", scales);
  w.add_array<bool>("nutshell.coded.rotated", rotated);
  w.add("nutshell.quality.mean_kl", 0.125f);
  w.add("nutshell.source.name", "tiny");
  return out;
}

}  // namespace nutshell::test
