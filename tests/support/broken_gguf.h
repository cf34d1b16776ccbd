// GGUF files that are broken in one known way each, with the error they must give: for unit tests and as the
// seeds of the fuzzers.
#pragma once

#include <string>
#include <vector>

#include "support/gguf_writer.h"

namespace nutshell::test {

struct BrokenGguf {
  std::string name;
  Bytes bytes;
  ErrorCode code;
};

namespace broken_detail {

inline Bytes text(std::string_view s) { return Bytes(s.begin(), s.end()); }

// Content of an array value that announces `count` elements and holds none.
inline Bytes array_head(uint32_t element, uint64_t count) {
  Bytes out;
  put(out, element);
  put(out, count);
  return out;
}

// An array of one array of one array ... of one u8, `depth` arrays in all.
inline Bytes nested(int depth) {
  Bytes out;
  for (int i = 0; i < depth; ++i) {
    const bool last = i + 1 == depth;
    put(out, static_cast<uint32_t>(last ? GgufType::u8 : GgufType::array));
    put<uint64_t>(out, 1);
  }
  out.push_back(7);
  return out;
}

}  // namespace broken_detail

// Every prefix of a small valid file, from nothing to all but the last byte.
inline std::vector<BrokenGguf> truncated_ggufs() {
  const Bytes whole = small_gguf().build();
  std::vector<BrokenGguf> out;
  for (size_t n = 0; n < whole.size(); ++n)
    out.push_back({"cut after " + std::to_string(n) + " bytes",
                   Bytes(whole.begin(), whole.begin() + static_cast<std::ptrdiff_t>(n)),
                   ErrorCode::truncated});
  return out;
}

// Not GGUF at all, and wrong versions.
inline std::vector<BrokenGguf> foreign_files() {
  using broken_detail::text;
  std::vector<BrokenGguf> out = {
      {"web page", text("<!DOCTYPE html><html><head><title>404</title></head></html>"), ErrorCode::bad_magic},
      {"web page after white space", text("\xEF\xBB\xBF\n  <html>"), ErrorCode::bad_magic},
      {"JSON", text("{\"error\":\"not found\"}"), ErrorCode::bad_magic},
      {"Git LFS pointer", text("version https://git-lfs.github.com/spec/v1\noid sha256:00"),
       ErrorCode::bad_magic},
      {"ZIP", text("PK\x03\x04 and more bytes"), ErrorCode::bad_magic},
      {"one wrong byte", text("X"), ErrorCode::bad_magic},
      {"zeros", Bytes(64, 0), ErrorCode::bad_magic},
      {"backwards magic", text("FUGG and more bytes of a file"), ErrorCode::bad_magic},
  };
  for (const uint32_t version : {0u, 1u, 4u, 0xffffffffu, 0x03000000u, 0x02000000u}) {
    GgufWriter w = small_gguf();
    w.version = version;
    out.push_back({"version " + std::to_string(version), w.build(), ErrorCode::bad_version});
  }
  return out;
}

// Counts that the file cannot hold, or that no real file has.
inline std::vector<BrokenGguf> broken_counts() {
  using broken_detail::array_head;
  using broken_detail::nested;
  std::vector<BrokenGguf> out;
  const auto add = [&](const std::string& name, ErrorCode code, auto change) {
    GgufWriter w = small_gguf();
    change(w);
    out.push_back({name, w.build(), code});
  };
  const auto array = static_cast<uint32_t>(GgufType::array);
  const auto string = static_cast<uint32_t>(GgufType::string);
  for (const uint64_t n : {uint64_t{1} << 20, uint64_t{1} << 32, uint64_t{1} << 63, ~uint64_t{0}}) {
    const std::string shown = std::to_string(n);
    add(shown + " tensors", ErrorCode::limit_exceeded, [=](GgufWriter& w) { w.n_tensors = n; });
    add(shown + " keys", ErrorCode::limit_exceeded, [=](GgufWriter& w) { w.n_keys = n; });
  }
  add("1000 tensors of 3", ErrorCode::truncated, [](GgufWriter& w) { w.n_tensors = 1000; });
  add("1000 keys of 16", ErrorCode::truncated, [](GgufWriter& w) { w.n_keys = 1000; });
  for (const uint32_t element : {0u, 5u, 7u, 8u, 9u, 10u}) {
    const std::string of = " of type " + std::to_string(element);
    add("array of 2^62" + of, ErrorCode::limit_exceeded,
        [=](GgufWriter& w) { w.add_raw("x", array, array_head(element, uint64_t{1} << 62)); });
    add("array of 10^6" + of, ErrorCode::truncated,
        [=](GgufWriter& w) { w.add_raw("x", array, array_head(element, 1000000)); });
  }
  add("string of 2^63 bytes", ErrorCode::limit_exceeded, [=](GgufWriter& w) {
    Bytes content;
    put(content, uint64_t{1} << 63);
    w.add_raw("x", string, content);
  });
  add("string of 10^6 bytes", ErrorCode::truncated, [=](GgufWriter& w) {
    Bytes content;
    put(content, uint64_t{1000000});
    w.add_raw("x", string, content);
  });
  add("key of 65536 bytes", ErrorCode::limit_exceeded,
      [](GgufWriter& w) { w.add(std::string(65536, 'k'), true); });
  add("tensor name of 65536 bytes", ErrorCode::limit_exceeded,
      [](GgufWriter& w) { w.tensors[0].name = std::string(65536, 't'); });
  add("tensor name of 2^64 - 1 bytes", ErrorCode::limit_exceeded,
      [](GgufWriter& w) { w.tensors[0].name_length = ~uint64_t{0}; });
  add("arrays nested 5 deep", ErrorCode::limit_exceeded,
      [=](GgufWriter& w) { w.add_raw("x", array, nested(5)); });
  return out;
}

// Values, names and types that contradict the format.
inline std::vector<BrokenGguf> broken_metadata() {
  std::vector<BrokenGguf> out;
  const auto add = [&](const std::string& name, ErrorCode code, auto change) {
    GgufWriter w = small_gguf();
    change(w);
    out.push_back({name, w.build(), code});
  };
  const auto boolean = static_cast<uint32_t>(GgufType::boolean);
  const auto array = static_cast<uint32_t>(GgufType::array);
  for (const uint32_t type : {13u, 255u, 0xffffffffu}) {
    add("value type " + std::to_string(type), ErrorCode::corrupt_file,
        [=](GgufWriter& w) { w.add_raw("x", type, Bytes(8, 0)); });
    add("element type " + std::to_string(type), ErrorCode::corrupt_file,
        [=](GgufWriter& w) { w.add_raw("x", array, broken_detail::array_head(type, 0)); });
  }
  add("boolean 2", ErrorCode::corrupt_file, [=](GgufWriter& w) { w.add_raw("x", boolean, {2}); });
  add("boolean 255 in an array", ErrorCode::corrupt_file, [=](GgufWriter& w) {
    Bytes content = broken_detail::array_head(boolean, 2);
    content.insert(content.end(), {1, 255});
    w.add_raw("x", array, content);
  });
  add("empty key", ErrorCode::corrupt_file, [](GgufWriter& w) { w.add("", true); });
  add("key twice", ErrorCode::corrupt_file, [](GgufWriter& w) { w.add("a.u8", uint8_t{1}); });
  for (const uint32_t alignment : {0u, 1u, 4u, 24u, 33u})
    add("alignment " + std::to_string(alignment), ErrorCode::corrupt_file,
        [=](GgufWriter& w) { w.add("general.alignment", alignment); });
  add("alignment 2 MiB", ErrorCode::limit_exceeded,
      [](GgufWriter& w) { w.add("general.alignment", 1u << 21); });
  add("alignment as a string", ErrorCode::corrupt_file,
      [](GgufWriter& w) { w.add("general.alignment", "32"); });
  add("alignment as u64", ErrorCode::corrupt_file,
      [](GgufWriter& w) { w.add("general.alignment", uint64_t{32}); });
  return out;
}

// Tensor descriptions that contradict the format, each other or the file.
inline std::vector<BrokenGguf> broken_tensors() {
  std::vector<BrokenGguf> out;
  const auto add = [&](const std::string& name, ErrorCode code, auto change) {
    GgufWriter w = small_gguf();
    change(w);
    out.push_back({name, w.build(), code});
  };
  add("empty tensor name", ErrorCode::corrupt_file, [](GgufWriter& w) { w.tensors[0].name.clear(); });
  add("tensor twice", ErrorCode::corrupt_file, [](GgufWriter& w) { w.tensors[1].name = w.tensors[0].name; });
  add("no dimensions", ErrorCode::corrupt_file, [](GgufWriter& w) { w.tensors[1].dims.clear(); });
  add("5 dimensions", ErrorCode::limit_exceeded, [](GgufWriter& w) { w.tensors[2].dims.push_back(1); });
  add("2^32 - 1 dimensions", ErrorCode::limit_exceeded, [](GgufWriter& w) { w.tensors[2].n_dims = ~0u; });
  for (int i = 0; i < 4; ++i) {
    const std::string in = " in dimension " + std::to_string(i);
    add("extent 0" + in, ErrorCode::corrupt_file,
        [=](GgufWriter& w) { w.tensors[2].dims[static_cast<size_t>(i)] = 0; });
    add("extent 2^63" + in, ErrorCode::limit_exceeded,
        [=](GgufWriter& w) { w.tensors[2].dims[static_cast<size_t>(i)] = uint64_t{1} << 63; });
    add("extent 2^40" + in, ErrorCode::limit_exceeded,
        [=](GgufWriter& w) { w.tensors[2].dims[static_cast<size_t>(i)] = uint64_t{1} << 40; });
  }
  add("extents whose product wraps to 0", ErrorCode::limit_exceeded, [](GgufWriter& w) {
    w.tensors[2].dims = {uint64_t{1} << 32, uint64_t{1} << 32};
  });
  add("row of 33 Q8_0 values", ErrorCode::corrupt_file, [](GgufWriter& w) { w.tensors[0].dims[0] = 33; });
  add("row of 16 Q8_0 values", ErrorCode::corrupt_file, [](GgufWriter& w) { w.tensors[0].dims[0] = 16; });
  add("offset 1", ErrorCode::corrupt_file, [](GgufWriter& w) { w.tensors[1].offset = 1; });
  add("offset not aligned to 64", ErrorCode::corrupt_file, [](GgufWriter& w) {
    w.set_alignment(64);
    w.tensors[1].offset = 32;
  });
  add("same offset twice", ErrorCode::corrupt_file, [](GgufWriter& w) { w.tensors[1].offset = 0; });
  add("offset into the tensor before", ErrorCode::corrupt_file,
      [](GgufWriter& w) { w.tensors[1].offset = 96; });
  add("tensor grown into the next", ErrorCode::corrupt_file, [](GgufWriter& w) { w.tensors[0].dims[1] = 4; });
  add("last tensor grown beyond the file", ErrorCode::truncated,
      [](GgufWriter& w) { w.tensors[2].dims[3] = 6; });
  add("offset beyond the file", ErrorCode::truncated, [](GgufWriter& w) { w.tensors[2].offset = 1 << 20; });
  add("offset 2^64 - 32", ErrorCode::corrupt_file,
      [](GgufWriter& w) { w.tensors[2].offset = ~uint64_t{31}; });
  add("offset that wraps with the data offset", ErrorCode::corrupt_file,
      [](GgufWriter& w) { w.tensors[2].offset = ~uint64_t{0} - 511; });
  add("huge tensor", ErrorCode::truncated, [](GgufWriter& w) { w.tensors[2].dims = {1 << 20, 1 << 19}; });
  return out;
}

inline std::vector<BrokenGguf> broken_ggufs() {
  std::vector<BrokenGguf> out;
  for (auto* make : {&truncated_ggufs, &foreign_files, &broken_counts, &broken_metadata, &broken_tensors})
    for (BrokenGguf& broken : make()) out.push_back(std::move(broken));
  return out;
}

}  // namespace nutshell::test
