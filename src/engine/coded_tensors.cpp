#include "engine/coded_tensors.h"

#include <algorithm>
#include <cmath>

#include "quant/trellis.h"

namespace nutshell {
namespace {

constexpr size_t kTableBytes = 40;
constexpr int64_t kMaxExtent = int64_t{1} << 31;
constexpr int64_t kMaxOddFactor = 255;  // of a rotation's width

struct Description {
  std::vector<int64_t> rows, columns, tables, rotated, bytes;
  std::vector<float> scales;
};

Status wrong_count(const char* key, size_t got, size_t wanted) {
  return {ErrorCode::corrupt_file, "the metadata key '" + std::string(key) + "' has " + std::to_string(got) +
                                       " elements for " + std::to_string(wanted) + " coded tensors"};
}

Status read_numbers(const GgufFile& file, const char* key, size_t wanted, std::vector<int64_t>& out) {
  ASSIGN_OR_RETURN(out, file.get_i64s(key));
  return out.size() == wanted ? Status() : wrong_count(key, out.size(), wanted);
}

std::optional<DType> trellis_type(std::string_view name) {
  for (const DTypeInfo& info : kTrellisTypes)
    if (info.name == name) return info.dtype;
  return std::nullopt;
}

Result<Description> read_description(const GgufFile& file, size_t n) {
  Description d;
  ASSIGN_OR_RETURN(const uint32_t version, file.get_u32("nutshell.version"));
  if (version != 1)
    return Status(ErrorCode::bad_version, "the coded tensors are of version " + std::to_string(version) +
                                              " of the format, supported is 1");
  RETURN_IF_ERROR(read_numbers(file, "nutshell.coded.rows", n, d.rows));
  RETURN_IF_ERROR(read_numbers(file, "nutshell.coded.columns", n, d.columns));
  RETURN_IF_ERROR(read_numbers(file, "nutshell.coded.tables", n, d.tables));
  RETURN_IF_ERROR(read_numbers(file, "nutshell.coded.rotated", n, d.rotated));
  ASSIGN_OR_RETURN(d.scales, file.get_f32s("nutshell.coded.scales"));
  if (d.scales.size() != n) return wrong_count("nutshell.coded.scales", d.scales.size(), n);
  ASSIGN_OR_RETURN(d.bytes, file.get_i64s("nutshell.tables"));
  for (const int64_t b : d.bytes)
    if (b < 0 || b > 255)
      return Status(ErrorCode::corrupt_file, "the metadata key 'nutshell.tables' does not hold bytes");
  return d;
}

// The table set of tensor i.
Result<TrellisCode> read_code(const Description& d, size_t i, DType dtype, const std::string& what) {
  TrellisCode code;
  const int64_t set = d.tables[i];
  if (set < 0 || static_cast<uint64_t>(set) >= d.bytes.size() / kTableBytes)
    return Status(ErrorCode::corrupt_file, what + " wants table set " + std::to_string(set) + " of " +
                                               std::to_string(d.bytes.size() / kTableBytes));
  const int64_t* p = d.bytes.data() + static_cast<size_t>(set) * kTableBytes;
  for (size_t k = 0; k < 16; ++k) {
    code.t1[k] = static_cast<uint8_t>(p[k]);
    code.t2[k] = static_cast<uint8_t>(p[16 + k]);
  }
  code.zero = static_cast<uint8_t>(p[32]);
  code.start = static_cast<uint8_t>(p[33]);
  code.scale = d.scales[i];
  for (size_t k = 34; k < kTableBytes; ++k)
    if (p[k] != 0) return Status(ErrorCode::corrupt_file, what + " has a table set with reserved bytes");
  if (!valid_trellis(dtype, code))
    return Status(ErrorCode::corrupt_file,
                  what + " has tables or a scale outside the limits of " + std::string(name_of(dtype)));
  return code;
}

// Whether three dimensions are n_rows cut into equal matrices of whole superrows.
bool holds_slices(const GgufTensor& stored, int64_t n_rows) {
  const int64_t each = stored.dims[1], slices = stored.dims[2];
  return slices >= 1 && each % kTrellisRows == 0 && n_rows % slices == 0 && each == n_rows / slices;
}

// The stored tensor holds the rows of entries [begin, end).
Status check_shape(const GgufTensor& stored, const Description& d, const std::vector<TrellisRun>& runs,
                   size_t begin, const std::string& what) {
  const int64_t columns = d.columns[begin];
  int64_t n_rows = 0, n_stored = 0;
  uint64_t bytes = 0;
  for (size_t k = 0; k < runs.size(); ++k) {
    const int64_t rows = d.rows[begin + k];
    if (rows < 1 || columns < 1 || rows > kMaxExtent - n_rows || columns > kMaxExtent || columns % 32 != 0)
      return {ErrorCode::bad_shape, what + " is " + std::to_string(rows) + " x " + std::to_string(columns) +
                                        "; columns come in multiples of 32"};
    if (d.columns[begin + k] != columns || d.rotated[begin + k] != d.rotated[begin] ||
        (k + 1 < runs.size() && rows % kTrellisRows != 0))
      return {ErrorCode::bad_shape, what + " has runs of rows that do not fit each other"};
    n_rows += rows;
    n_stored += stored_rows(runs[k].dtype, rows);  // < 2^32, and a row < 2^31 bytes: no overflow
    bytes += static_cast<uint64_t>(row_bytes(runs[k].dtype, columns)) *
             static_cast<uint64_t>(stored_rows(runs[k].dtype, rows));
  }
  const bool fits = runs.size() > 1
                        ? stored.n_dims == 1 && stored.dims[0] == static_cast<int64_t>(bytes)
                        : stored.dims[0] == row_bytes(runs[0].dtype, columns) &&
                              (stored.n_dims == 3 ? holds_slices(stored, n_rows)
                                                  : stored.n_dims == 2 && stored.dims[1] == n_stored);
  if (stored.format_name() != "I8" || !fits)
    return {ErrorCode::bad_shape, what + " is " + std::to_string(n_rows) + " x " + std::to_string(columns) +
                                      " in " + std::string(name_of(runs[0].dtype)) + ", which " +
                                      std::to_string(stored.bytes) + " bytes of " + stored.format_name() +
                                      " do not hold"};
  return {};
}

// Where the rows of a tensor of n_rows lie, when not in their own order.
Result<std::vector<int32_t>> read_order(const GgufFile& file, const std::string& name, int64_t n_rows) {
  const std::string key = "nutshell.order." + name;
  std::vector<int32_t> order;
  if (!file.has(key)) return order;
  ASSIGN_OR_RETURN(const std::vector<int64_t> rows, file.get_i64s(key));
  std::vector<bool> seen(rows.size());
  bool good = static_cast<int64_t>(rows.size()) == n_rows;
  for (size_t i = 0; good && i < rows.size(); ++i) {
    good = rows[i] >= 0 && rows[i] < n_rows && !seen[static_cast<size_t>(rows[i])];
    if (!good) break;
    seen[static_cast<size_t>(rows[i])] = true;
    order.push_back(static_cast<int32_t>(rows[i]));
  }
  if (!good)
    return Status(ErrorCode::corrupt_file, "the metadata key '" + key + "' does not name each of " +
                                               std::to_string(n_rows) + " rows once");
  return order;
}

int64_t odd_factor(int64_t n) {
  while (n % 2 == 0) n /= 2;
  return n;
}

// Entries [begin, end) of the description are one tensor.
Status describe(const GgufFile& file, const Description& d, const GgufStrings& names,
                const GgufStrings& formats, size_t begin, size_t end, TensorIndex& tensors) {
  const std::string name(names[begin]), what = "the coded tensor " + quoted(name);
  const GgufTensor* stored = file.find_tensor(name);
  TensorEntry* entry = tensors.find(name);
  if (stored == nullptr || entry == nullptr)
    return {ErrorCode::missing_tensor, what + " is described but not in the file"};
  if (entry->dtype) return {ErrorCode::corrupt_file, what + " is described twice or stored as plain values"};
  std::vector<TrellisRun> runs;
  std::string format_name;
  for (size_t i = begin; i < end; ++i) {
    const auto dtype = trellis_type(formats[i]);
    if (!dtype)
      return {ErrorCode::unsupported_format,
              what + " has the code " + quoted(formats[i]) + ", which is not supported"};
    const int64_t first = runs.empty() ? 0 : runs.back().first_row + std::min(d.rows[i - 1], kMaxExtent);
    runs.push_back({*dtype, first, {}});
    if (runs.size() == 1 || runs[runs.size() - 2].dtype != *dtype)
      format_name += (format_name.empty() ? "" : "+") + std::string(name_of(*dtype));
  }
  RETURN_IF_ERROR(check_shape(*stored, d, runs, begin, what));
  for (size_t i = begin; i < end; ++i) {
    TrellisRun& run = runs[i - begin];
    ASSIGN_OR_RETURN(run.code, read_code(d, i, run.dtype, what));
  }
  entry->n_cols = d.columns[begin];
  entry->n_rows = runs.back().first_row + d.rows[end - 1];
  if (d.rotated[begin] != 0) {
    if (odd_factor(entry->n_cols) > kMaxOddFactor)
      return {ErrorCode::limit_exceeded, what + " is rotated over " + std::to_string(entry->n_cols) +
                                             " columns, whose odd factor is above " +
                                             std::to_string(kMaxOddFactor)};
    ASSIGN_OR_RETURN(const int64_t seed, file.get_i64("nutshell.rotation.seed"));
    entry->rotation = static_cast<uint64_t>(seed);
  }
  ASSIGN_OR_RETURN(entry->coded.order, read_order(file, name, entry->n_rows));
  entry->coded.runs = std::move(runs);
  entry->dtype = entry->coded.runs[0].dtype;
  entry->format_name = std::move(format_name);
  entry->shape = {entry->n_cols, entry->n_rows};
  if (stored->n_dims == 3) entry->shape = {entry->n_cols, stored->dims[1], stored->dims[2]};
  if (entry->pieces.size() == 1) entry->pieces[0].n_rows = stored_rows(*entry->dtype, entry->n_rows);
  return {};
}

}  // namespace

bool has_coded_tensors(const GgufFile& file) { return file.has("nutshell.coded.names"); }

Status describe_coded_tensors(const GgufFile& file, TensorIndex& tensors) {
  if (!has_coded_tensors(file)) return {};
  ASSIGN_OR_RETURN(const GgufStrings names, file.get_strings("nutshell.coded.names"));
  ASSIGN_OR_RETURN(const GgufStrings formats, file.get_strings("nutshell.coded.formats"));
  if (formats.size() != names.size())
    return wrong_count("nutshell.coded.formats", formats.size(), names.size());
  ASSIGN_OR_RETURN(const Description d, read_description(file, names.size()));
  for (size_t i = 0, end = 0; i < names.size(); i = end) {
    while (end < names.size() && names[end] == names[i]) ++end;
    RETURN_IF_ERROR(describe(file, d, names, formats, i, end, tensors));
  }
  return {};
}

}  // namespace nutshell
