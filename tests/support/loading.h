// Loads models whose files are bytes in memory, and runs them: for tests of loading.
#pragma once

#include <doctest/doctest.h>

#include <cstring>
#include <memory>
#include <numeric>
#include <string>
#include <vector>

#include "engine/loader.h"
#include "support/gguf_writer.h"

namespace nutshell::test {

struct TestFile {
  std::string name;
  Bytes bytes;
};

inline std::vector<ModelFile> model_files(const std::vector<TestFile>& files) {
  std::vector<ModelFile> out;
  for (const TestFile& file : files) out.push_back({file.name, file.bytes.size()});
  return out;
}

inline LoadOptions load_options(const std::vector<TestFile>& files) {
  LoadOptions options;
  options.files = model_files(files);
  options.context_size = 32;
  return options;
}

// Gives a Loader or a HeaderReader the bytes it asks for until it wants no more.
template <typename Reader>
Status feed(Reader& reader, const std::vector<TestFile>& files) {
  for (;;) {
    ASSIGN_OR_RETURN(const std::optional<ReadRequest> read, reader.next());
    if (!read) return {};
    const Bytes& bytes = files.at(read->file).bytes;
    REQUIRE(read->length > 0);
    REQUIRE(read->offset <= bytes.size());
    REQUIRE(read->length <= bytes.size() - read->offset);
    std::memcpy(read->target, bytes.data() + read->offset, read->length);
    RETURN_IF_ERROR(reader.commit());
  }
}

inline Result<std::unique_ptr<Model>> load_files(ThreadPool& pool, const std::vector<TestFile>& files) {
  Loader loader(pool, load_options(files));
  RETURN_IF_ERROR(feed(loader, files));
  return loader.take();
}

inline Result<ModelHeader> read_header(const std::vector<TestFile>& files) {
  HeaderReader reader(model_files(files));
  RETURN_IF_ERROR(feed(reader, files));
  return reader.take();
}

// Loading fails with the code and a message that holds all parts.
inline void check_refused(const std::vector<TestFile>& files, ErrorCode code,
                          std::initializer_list<std::string_view> parts) {
  ThreadPool pool(1);
  const auto model = load_files(pool, files);
  REQUIRE_FALSE(model.ok());
  INFO(model.status().message());
  CHECK(error_name(model.status().code()) == error_name(code));
  for (const std::string_view part : parts) CHECK(model.status().message().find(part) != std::string::npos);
}

// The logits after the last of the tokens.
inline std::vector<float> logits_of(ThreadPool& pool, const std::vector<TestFile>& files,
                                    const std::vector<int32_t>& tokens) {
  auto model = load_files(pool, files);
  REQUIRE_MESSAGE(model.ok(), model.status().message());
  const std::vector<int32_t> rows = {static_cast<int32_t>(tokens.size()) - 1};
  const Status status = (*model)->backend->run({tokens, 0, rows});
  REQUIRE_MESSAGE(status.ok(), status.message());
  const std::span<const float> logits = (*model)->backend->logits(0);
  return {logits.begin(), logits.end()};
}

}  // namespace nutshell::test
