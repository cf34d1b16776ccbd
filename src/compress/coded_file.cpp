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
                          plain_bytes(tensor)});
    } else if (t->runs.size() > 1) {
      tensors_.push_back({tensor.name, {t->bytes()}, kGgmlI8, t->bytes()});
    } else {
      const auto row = static_cast<uint64_t>(2 + t->runs[0].coded.bits * t->n_cols / 8);
      const auto slices = static_cast<uint64_t>(tensor.n_slices());
      std::vector<uint64_t> shape{row, t->bytes() / row / slices};
      if (slices > 1) shape.push_back(slices);
      tensors_.push_back({tensor.name, std::move(shape), kGgmlI8, t->bytes()});
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
  std::vector<uint8_t> rotated;
  for (const Target& t : targets_)
    for (const Run& run : t.runs) {
      names.push_back(t.name);
      formats.emplace_back(name_of(trellis_type(run.coded.bits)));
      rows.push_back(static_cast<uint32_t>(run.n_rows));
      columns.push_back(static_cast<uint32_t>(t.n_cols));
      sets.push_back(static_cast<uint32_t>(run.coded.bits - kMinBits));
      scales.push_back(run.coded.scale);
      rotated.push_back(t.rotated);
    }
  writer_.add("nutshell.coded.names", names);
  writer_.add("nutshell.coded.formats", formats);
  writer_.add("nutshell.coded.rows", rows);
  writer_.add("nutshell.coded.columns", columns);
  writer_.add("nutshell.coded.tables", sets);
  writer_.add("nutshell.coded.scales", scales);
  writer_.add_bytes("nutshell.coded.rotated", rotated, GgufType::boolean);
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

Steps CodedFile::write() const {
  const std::vector<uint8_t> header = writer_.header(tensors_), padding(writer_.padded(1), 0);
  co_yield write_bytes(header);
  int64_t done = 0;
  for (const TensorEntry& tensor : source_.header.tensors.entries()) {
    uint64_t size = 0;
    if (const Target* t = target_of(tensor.name); t != nullptr) {
      for (const Run& run : t->runs) {
        co_yield write_bytes(run.coded.bytes);
        size += run.coded.bytes.size();
      }
    } else {
      std::vector<uint8_t> bytes;
      RUN_STEPS(read_tensor_bytes(source_, tensor, bytes));
      if (const auto it = changed_.find(tensor.name); it != changed_.end())
        std::memcpy(bytes.data(), it->second->data(), bytes.size());
      co_yield write_bytes(bytes);
      size = bytes.size();
    }
    if (const uint64_t more = writer_.padded(size) - size; more > 0)
      co_yield write_bytes(std::span(padding).first(more));
    co_yield worked(Stage::writing, ++done, static_cast<int64_t>(tensors_.size()));
  }
  co_return Status();
}

}  // namespace nutshell::compress
