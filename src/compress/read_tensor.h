// Values of a model's tensors as the engine sees them, whatever container they lie in. L5.
#pragma once

#include <vector>

#include "compress/io.h"
#include "model/model_header.h"

namespace nutshell::compress {

// The tensor's bytes in its format, the transform applied. Errors: those of read and read_rows.
Result<std::vector<uint8_t>> read_plain(const TensorEntry& tensor, const ReadBytes& read);
// How many they are.
uint64_t plain_bytes(const TensorEntry& tensor);

// Where bytes lie in a model's files.
struct ByteRange {
  uint32_t file = 0;
  uint64_t offset = 0, length = 0;
};
// The stored bytes that rows [first, first + n) are decoded from, in order: theirs, of a transposed tensor
// all.
std::vector<ByteRange> ranges_of(const TensorEntry& tensor, int64_t first, int64_t n);
// Rows [first, first + n) as f32 from those bytes, the tensor's transform applied. As read_rows().
Status decode_rows(const TensorEntry& tensor, std::span<const uint8_t> stored, int64_t first, int64_t n,
                   std::span<float> out);
// All bytes of a tensor that is stored as the engine sees it.
std::vector<ByteRange> ranges_of(const TensorEntry& tensor);
// What read_plain() answers, from all values.
std::vector<uint8_t> encode_plain(const TensorEntry& tensor, std::span<const float> values);

// Rows [first, first + n) as f32, the tensor's transform applied; out: n * n_cols values. Preconditions: a
// block format (not a trellis code), rows inside the tensor. Errors: those of read; corrupt_file naming the
// tensor when a value is not finite. Memory: the rows' bytes; of a transposed tensor all its bytes.
Status read_rows(const TensorEntry& tensor, const ReadBytes& read, int64_t first, int64_t n,
                 std::span<float> out);

// Lists the tensors of header.computed, which are in no file and have no pieces, in the index, sorted by
// name.
void add_computed(ModelHeader& header);

}  // namespace nutshell::compress
