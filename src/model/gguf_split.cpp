#include "model/gguf_split.h"

#include <algorithm>
#include <cstdio>

namespace nutshell {
namespace {

constexpr int64_t kMaxParts = 4096;

struct Part {
  size_t file;  // index of the caller's
  int64_t number, count, n_tensors;
  std::string stem;  // of its name; empty when it is not named like a part
};

std::string in_quotes(const std::vector<ModelFile>& files, size_t i) {
  return i < files.size() ? quoted(files[i].name) : "file " + std::to_string(i + 1);
}

Result<Part> read_part(const GgufFile& header, const std::vector<ModelFile>& files, size_t i) {
  Part part{i, 0, 0, -1, {}};
  if (!header.has("split.count"))
    return Status(ErrorCode::invalid_argument,
                  in_quotes(files, i) + " is a model by itself, not a part of a split one; open it alone");
  ASSIGN_OR_RETURN(part.count, header.get_i64("split.count"));
  ASSIGN_OR_RETURN(part.number, header.get_i64("split.no"));
  ASSIGN_OR_RETURN(part.n_tensors, header.get_i64("split.tensors.count", -1));
  if (part.count < 1 || part.count > kMaxParts || part.number < 0 || part.number >= part.count)
    return Status(ErrorCode::corrupt_file, in_quotes(files, i) + " says it is part " +
                                               std::to_string(part.number + 1) + " of " +
                                               std::to_string(part.count));
  if (i < files.size())
    if (const auto name = parse_part_name(files[i].name)) part.stem = name->stem;
  return part;
}

// That two parts can be of one model: they agree on what every part repeats.
Status check_same_model(const Part& a, const Part& b, const std::vector<ModelFile>& files) {
  std::string why;
  if (a.count != b.count)
    why = "one has " + std::to_string(a.count) + " parts, the other " + std::to_string(b.count);
  else if (a.n_tensors != b.n_tensors)
    why = "one has " + std::to_string(a.n_tensors) + " tensors, the other " + std::to_string(b.n_tensors);
  else if (a.stem != b.stem)
    why = "their names differ";
  if (why.empty()) return {};
  return {ErrorCode::corrupt_file, in_quotes(files, a.file) + " and " + in_quotes(files, b.file) +
                                       " are parts of different models: " + why};
}

// parts: sorted by number.
Status check_complete(const std::vector<Part>& parts, const std::vector<ModelFile>& files) {
  for (size_t i = 1; i < parts.size(); ++i) {
    RETURN_IF_ERROR(check_same_model(parts[0], parts[i], files));
    if (parts[i].number == parts[i - 1].number)
      return {ErrorCode::corrupt_file, in_quotes(files, parts[i - 1].file) + " and " +
                                           in_quotes(files, parts[i].file) + " are both part " +
                                           std::to_string(parts[i].number + 1)};
  }
  if (static_cast<int64_t>(parts.size()) == parts[0].count) return {};
  std::string missing;
  int shown = 0;
  size_t next = 0;
  for (int64_t number = 0; number < parts[0].count && shown < 8; ++number) {
    if (next < parts.size() && parts[next].number == number) {
      ++next;
      continue;
    }
    missing += (missing.empty() ? "" : ", ") + std::to_string(number + 1);
    ++shown;
  }
  const auto total = static_cast<size_t>(parts[0].count) - parts.size();
  return {ErrorCode::missing_part, "the model has " + std::to_string(parts[0].count) + " parts, " +
                                       std::to_string(total) + (total == 1 ? " is" : " are") +
                                       " missing: " + missing + (total > 8 ? ", ..." : "")};
}

// Some converters write the gate and up matrices of experts as one tensor, gate first in every expert. It is
// added as the two tensors other files have; false when `fused` is none of this kind.
bool add_gate_and_up(const TensorEntry& fused, TensorIndex& out) {
  constexpr std::string_view kFused = "ffn_gate_up_exps";
  constexpr int64_t kMaxExperts = 4096;
  const size_t at = fused.name.find(kFused);
  const bool bias = fused.name.ends_with(".bias");
  // Extents: [n_in, 2 n_ff, n_expert]; of biases [2 n_ff, n_expert].
  if (at == std::string::npos || fused.shape.size() != (bias ? 2u : 3u)) return false;
  const size_t extent = bias ? 0 : 1;
  const int64_t both = fused.shape[extent], n_expert = fused.shape.back(), n_ff = both / 2;
  if (both % 2 != 0 || n_expert > kMaxExperts || !fused.dtype ||
      (bias && info_of(*fused.dtype).block_length != 1))
    return false;
  const uint64_t half_bytes = fused.bytes / static_cast<uint64_t>(n_expert) / 2;
  for (const auto& [part, half] : {std::pair{"ffn_gate_exps", 0u}, std::pair{"ffn_up_exps", 1u}}) {
    TensorEntry entry = fused;
    entry.name.replace(at, kFused.size(), part);
    entry.shape[extent] = n_ff;
    (bias ? entry.n_cols : entry.n_rows) /= 2;
    entry.bytes /= 2;
    entry.pieces.clear();
    for (int64_t e = 0; e < n_expert; ++e)
      entry.pieces.push_back({fused.pieces[0].file,
                              fused.pieces[0].offset + half_bytes * (2 * static_cast<uint64_t>(e) + half),
                              bias ? 1 : n_ff});
    out.add(std::move(entry));
  }
  return true;
}

void add_tensors(const GgufFile& file, uint32_t index, TensorIndex& out) {
  for (const GgufTensor& t : file.tensors()) {
    TensorEntry entry;
    entry.name = t.name;
    entry.dtype = t.dtype;
    entry.format_name = t.format_name();
    entry.shape.assign(t.dims.begin(), t.dims.begin() + t.n_dims);
    entry.n_cols = t.dims[0];
    entry.n_rows = t.dims[1] * t.dims[2] * t.dims[3];
    entry.bytes = t.bytes;
    entry.pieces = {{index, file.data_offset() + t.offset, entry.n_rows}};
    if (!add_gate_and_up(entry, out)) out.add(std::move(entry));
  }
}

}  // namespace

ModelHeader header_of(GgufFile file) {
  ModelHeader header;
  add_tensors(file, 0, header.tensors);
  header.header_bytes = file.data_offset();
  header.file_bytes = file.file_bytes();
  header.metadata = std::move(file);
  return header;
}

Result<ModelHeader> join_parts(std::vector<GgufFile> headers, const std::vector<ModelFile>& files) {
  if (headers.empty()) return Status(ErrorCode::invalid_argument, "the model has no files");
  if (headers.size() == 1 && !headers[0].has("split.count")) return header_of(std::move(headers[0]));
  std::vector<Part> parts;
  for (size_t i = 0; i < headers.size(); ++i) {
    ASSIGN_OR_RETURN(Part part, read_part(headers[i], files, i));
    parts.push_back(std::move(part));
  }
  std::stable_sort(parts.begin(), parts.end(),
                   [](const Part& a, const Part& b) { return a.number < b.number; });
  RETURN_IF_ERROR(check_complete(parts, files));
  ModelHeader joined;
  for (const Part& part : parts) {
    const GgufFile& header = headers[part.file];
    for (const GgufTensor& t : header.tensors())
      if (joined.tensors.find(t.name) != nullptr)
        return Status(ErrorCode::corrupt_file, "the tensor " + quoted(t.name) + " is in two parts; " +
                                                   in_quotes(files, part.file) + " has it again");
    add_tensors(header, static_cast<uint32_t>(part.file), joined.tensors);
    joined.header_bytes += header.data_offset();
    joined.file_bytes += header.file_bytes();
  }
  int64_t n_tensors = 0;
  for (const GgufFile& header : headers) n_tensors += static_cast<int64_t>(header.tensors().size());
  if (parts[0].n_tensors >= 0 && parts[0].n_tensors != n_tensors)
    return Status(ErrorCode::corrupt_file, "the parts have " + std::to_string(n_tensors) +
                                               " tensors together, they should have " +
                                               std::to_string(parts[0].n_tensors));
  joined.metadata = std::move(headers[parts[0].file]);
  return joined;
}

std::optional<PartName> parse_part_name(std::string_view name) {
  constexpr std::string_view kShape = "-00000-of-00000.gguf";
  if (name.size() <= kShape.size()) return std::nullopt;
  const std::string_view tail = name.substr(name.size() - kShape.size());
  uint32_t numbers[2] = {0, 0};
  for (size_t i = 0, digits = 0; i < kShape.size(); ++i) {
    if (kShape[i] != '0') {
      if (tail[i] != kShape[i]) return std::nullopt;
      continue;
    }
    if (tail[i] < '0' || tail[i] > '9') return std::nullopt;
    uint32_t& number = numbers[digits++ / 5];
    number = number * 10 + static_cast<uint32_t>(tail[i] - '0');
  }
  if (numbers[0] < 1 || numbers[0] > numbers[1]) return std::nullopt;
  return PartName{std::string(name.substr(0, name.size() - kShape.size())), numbers[0], numbers[1]};
}

std::string part_name(const std::string& stem, uint32_t number, uint32_t count) {
  char tail[64];
  std::snprintf(tail, sizeof(tail), "-%05u-of-%05u.gguf", number, count);
  return stem + tail;
}

}  // namespace nutshell
