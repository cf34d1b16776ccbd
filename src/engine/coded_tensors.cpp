#include "engine/coded_tensors.h"

#include <cmath>
#include <cstring>

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

Status check_shape(const GgufTensor& stored, DType dtype, int64_t rows, int64_t columns,
                   const std::string& what) {
  if (rows < 1 || columns < 1 || rows > kMaxExtent || columns > kMaxExtent || columns % 32 != 0)
    return {ErrorCode::bad_shape, what + " is " + std::to_string(rows) + " x " + std::to_string(columns) +
                                      "; columns come in multiples of 32"};
  if (stored.format_name() != "I8" || stored.n_dims != 2 || stored.dims[0] != row_bytes(dtype, columns) ||
      stored.dims[1] != stored_rows(dtype, rows))
    return {ErrorCode::bad_shape, what + " is " + std::to_string(rows) + " x " + std::to_string(columns) +
                                      " in " + std::string(name_of(dtype)) + ", which " +
                                      std::to_string(stored.bytes) + " bytes of " + stored.format_name() +
                                      " do not hold"};
  return {};
}

int64_t odd_factor(int64_t n) {
  while (n % 2 == 0) n /= 2;
  return n;
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
  for (size_t i = 0; i < names.size(); ++i) {
    const std::string what = "the coded tensor " + quoted(names[i]);
    const GgufTensor* stored = file.find_tensor(names[i]);
    TensorEntry* entry = tensors.find(std::string(names[i]));
    if (stored == nullptr || entry == nullptr)
      return {ErrorCode::missing_tensor, what + " is described but not in the file"};
    const auto dtype = trellis_type(formats[i]);
    if (!dtype)
      return {ErrorCode::unsupported_format,
              what + " has the code " + quoted(formats[i]) + ", which is not supported"};
    if (entry->dtype)
      return {ErrorCode::corrupt_file, what + " is described twice or stored as plain values"};
    RETURN_IF_ERROR(check_shape(*stored, *dtype, d.rows[i], d.columns[i], what));
    ASSIGN_OR_RETURN(entry->code, read_code(d, i, *dtype, what));
    if (d.rotated[i] != 0) {
      if (odd_factor(d.columns[i]) > kMaxOddFactor)
        return {ErrorCode::limit_exceeded, what + " is rotated over " + std::to_string(d.columns[i]) +
                                               " columns, whose odd factor is above " +
                                               std::to_string(kMaxOddFactor)};
      ASSIGN_OR_RETURN(const int64_t seed, file.get_i64("nutshell.rotation.seed"));
      entry->rotation = static_cast<uint64_t>(seed);
    }
    entry->dtype = *dtype;
    entry->format_name = name_of(*dtype);
    entry->n_rows = d.rows[i];
    entry->n_cols = d.columns[i];
    entry->shape = {entry->n_cols, entry->n_rows};
  }
  return {};
}

}  // namespace nutshell
