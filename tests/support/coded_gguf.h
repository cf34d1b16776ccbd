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

// Rows [0, 258) in an order of their own.
inline std::vector<uint32_t> mixed_order(int64_t n_rows) {
  std::vector<uint32_t> order(static_cast<size_t>(n_rows));
  for (size_t i = 0; i < order.size(); ++i)  // 77 shares no factor with 258
    order[i] = static_cast<uint32_t>((i * 77 + 5) % order.size());
  return order;
}

// Formats go round NT2, NT3, NT4 unless one is given; every third tensor stays as it stood (not rotated).
// mixed: the token embedding has rows of all formats, in mixed_order().
inline CodedGguf code_gguf(const GgufWriter& source, std::optional<DType> only = {}, bool mixed = false) {
  CodedGguf out{source, source};
  std::vector<std::string> names, formats;
  std::vector<uint32_t> rows, columns, tables;
  std::vector<float> scales;
  std::vector<bool> rotated;
  Bytes sets;
  size_t n_coded = 0;
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
    const bool turn = n_coded % 3 != 2;
    const DType dtype = only.value_or(kTrellisTypes[n_coded % 3].dtype);
    ++n_coded;
    const auto describe = [&](DType format, int64_t n) {
      names.push_back(t.name);
      formats.emplace_back(name_of(format));
      rows.push_back(static_cast<uint32_t>(n));
      columns.push_back(static_cast<uint32_t>(n_cols));
      tables.push_back(static_cast<uint32_t>(trellis_bits(format) - 2));
      scales.push_back(1.0f);
      rotated.push_back(turn);
    };
    GgufWriter::Tensor& coded = out.coded.tensors[i];
    if (turn) values = turned(values, n_cols, false);
    if (mixed && t.name == "token_embd.weight") {
      const std::vector<uint32_t> order = mixed_order(n_rows);
      std::vector<float> decoded(values.size());
      coded.data.clear();
      int64_t first = 0;
      for (const auto& [format, n] :
           {std::pair{DType::nt4, int64_t{32}}, {DType::nt2, 16}, {DType::nt3, n_rows - 48}}) {
        std::vector<float> part;
        for (int64_t r = first; r < first + n; ++r) {
          const auto from = values.begin() + order[static_cast<size_t>(r)] * n_cols;
          part.insert(part.end(), from, from + n_cols);
        }
        const TrellisMatrix m = encode_trellis(format, part, n, n_cols);
        coded.data.insert(coded.data.end(), m.bytes.begin(), m.bytes.end());
        for (int64_t r = 0; r < n; ++r)
          std::copy_n(m.values.begin() + r * n_cols, n_cols,
                      decoded.begin() + order[static_cast<size_t>(first + r)] * n_cols);
        describe(format, n);
        first += n;
      }
      if (turn) decoded = turned(decoded, n_cols, true);
      std::memcpy(out.decoded.tensors[i].data.data(), decoded.data(), decoded.size() * 4);
      coded.type = 24;
      coded.dims = {coded.data.size()};
      out.coded.add_array<uint32_t>("nutshell.order." + t.name, order);
      continue;
    }
    TrellisMatrix m = encode_trellis(dtype, values, n_rows, n_cols);
    if (turn) m.values = turned(m.values, n_cols, true);
    describe(dtype, n_rows);
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
