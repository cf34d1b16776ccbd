#include "compress/coded_file.h"

#include <cstring>

namespace nutshell::compress {
namespace {

constexpr uint32_t kGgmlI8 = 24;

}  // namespace

CodedFile::CodedFile(const SourceModel& source, const std::vector<Target>& targets, uint64_t seed,
                     const Provenance& provenance, const std::map<std::string, const Matrix*>& changed)
    : source_(source), targets_(targets), changed_(changed), writer_(source.header.metadata) {
  describe(seed, provenance);
  for (const TensorEntry& tensor : source_.header.tensors.entries()) {
    const Target* t = target_of(tensor.name);
    if (t == nullptr) {
      tensors_.push_back({tensor.name,
                          {tensor.shape.begin(), tensor.shape.end()},
                          info_of(*tensor.dtype).gguf_id,
                          tensor.bytes});
    } else if (t->runs.size() > 1) {
      tensors_.push_back({tensor.name, {t->bytes()}, kGgmlI8, t->bytes()});
    } else {
      const auto row = static_cast<uint64_t>(2 + t->runs[0].coded.bits * t->n_cols / 8);
      tensors_.push_back({tensor.name, {row, t->bytes() / row}, kGgmlI8, t->bytes()});
    }
  }
}

const Target* CodedFile::target_of(const std::string& name) const {
  for (const Target& t : targets_)
    if (t.name == name) return &t;
  return nullptr;
}

void CodedFile::describe(uint64_t seed, const Provenance& provenance) {
  writer_.add("nutshell.version", uint32_t{1});
  writer_.add("nutshell.rotation.seed", seed);
  std::vector<uint8_t> tables;
  for (int k = kMinBits; k <= kMaxBits; ++k) {
    const TrellisCode& code = default_trellis(trellis_type(k)).code;
    tables.insert(tables.end(), code.t1, code.t1 + 16);
    tables.insert(tables.end(), code.t2, code.t2 + 16);
    tables.insert(tables.end(), {code.zero, code.start, 0, 0, 0, 0, 0, 0});
  }
  writer_.add_bytes("nutshell.tables", tables, GgufType::u8);
  std::vector<std::string> names, formats;
  std::vector<uint32_t> rows, columns, sets;
  std::vector<float> scales;
  for (const Target& t : targets_)
    for (const Run& run : t.runs) {
      names.push_back(t.name);
      formats.emplace_back(name_of(trellis_type(run.coded.bits)));
      rows.push_back(static_cast<uint32_t>(run.n_rows));
      columns.push_back(static_cast<uint32_t>(t.n_cols));
      sets.push_back(static_cast<uint32_t>(run.coded.bits - kMinBits));
      scales.push_back(run.coded.scale);
    }
  writer_.add("nutshell.coded.names", names);
  writer_.add("nutshell.coded.formats", formats);
  writer_.add("nutshell.coded.rows", rows);
  writer_.add("nutshell.coded.columns", columns);
  writer_.add("nutshell.coded.tables", sets);
  writer_.add("nutshell.coded.scales", scales);
  writer_.add_bytes("nutshell.coded.rotated", std::vector<uint8_t>(names.size(), 1), GgufType::boolean);
  for (const Target& t : targets_) {
    if (t.order.empty()) continue;
    const std::string key = "nutshell.order." + t.name;
    if (t.n_rows <= 65536) {
      writer_.add(key, std::vector<uint16_t>(t.order.begin(), t.order.end()));
    } else {
      writer_.add(key, std::vector<uint32_t>(t.order.begin(), t.order.end()));
    }
  }
  for (const auto& [key, value] : provenance.numbers) writer_.add("nutshell." + key, value);
  for (const auto& [key, value] : provenance.counts) writer_.add("nutshell." + key, value);
}

uint64_t CodedFile::bytes() const {
  uint64_t total = writer_.header(tensors_).size();
  for (const TensorOut& t : tensors_) total += writer_.padded(t.bytes);
  return total;
}

Status CodedFile::write(const WriteBytes& write) const {
  RETURN_IF_ERROR(write(writer_.header(tensors_)));
  for (const TensorEntry& tensor : source_.header.tensors.entries()) {
    const Target* t = target_of(tensor.name);
    std::vector<uint8_t> bytes;
    if (t != nullptr) {
      for (const Run& run : t->runs)
        bytes.insert(bytes.end(), run.coded.bytes.begin(), run.coded.bytes.end());
    } else {
      ASSIGN_OR_RETURN(bytes, source_.tensor_bytes(tensor));
      if (const auto it = changed_.find(tensor.name); it != changed_.end())
        std::memcpy(bytes.data(), it->second->data(), bytes.size());
    }
    bytes.resize(writer_.padded(bytes.size()), 0);
    RETURN_IF_ERROR(write(bytes));
  }
  return {};
}

}  // namespace nutshell::compress
