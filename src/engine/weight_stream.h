// The bytes of a model's weights, in the order in which the files have them, chunk by chunk into the back
// end. L5. A chunk is some rows of one large tensor or many small tensors: what lies together is asked for in
// one request, because each is a call into JavaScript and back.
#pragma once

#include <memory>
#include <optional>
#include <vector>

#include "backend/backend.h"
#include "engine/header_reader.h"
#include "model/tensor_index.h"

namespace nutshell {

class WeightStream {
 public:
  // Bytes of staging that a stream takes, of weights whose tensors are all in the index.
  static uint64_t staging_bytes(const TensorIndex& tensors, const std::vector<WeightSpec>& weights);

  // The back end, allocated for these weights before next(), and the index must outlive the stream.
  WeightStream(Backend& backend, const TensorIndex& tensors, const std::vector<WeightSpec>& weights);

  // What to read next; nothing when every weight is where it belongs.
  std::optional<ReadRequest> next();
  // The bytes of the last request are in place. Errors: as Backend::upload().
  Status commit();
  // Of the files' tensors, taken in so far.
  uint64_t done_bytes() const { return done_bytes_; }

 private:
  struct Source {
    WeightId weight;
    const TensorEntry* tensor;
    uint64_t row_bytes;
    int64_t n_rows, first_row;  // in the file; a weight may be some of the tensor's rows,
    uint64_t skip_bytes;        // or a part of its only row; or it is one of the runs of a coded tensor
    int64_t to_row = 0;         // of the weight
    int64_t n_padding = 0;      // rows at the end that are no rows of the weight
  };
  struct Read {
    uint32_t file;
    uint64_t offset, bytes;
    uint64_t at;  // in the staging buffer
  };
  struct Part {  // rows [row, row + n_rows) of a source
    const Source* source;
    int64_t row, n_rows;
    uint64_t at;
  };

  void add_runs(Source source, const WeightSpec& w);
  void next_chunk();
  void add_rows(const Source& source, int64_t n_rows);
  void add_read(uint32_t file, uint64_t offset, uint64_t bytes, uint64_t gap);
  Status upload(const Part& part);
  Status upload_transposed(const Part& part);

  Backend& backend_;
  std::vector<Source> sources_;  // by file and offset
  size_t source_ = 0;            // of the chunk after this one, with the rows of it that came before
  int64_t row_ = 0;
  std::vector<Read> reads_;  // of the chunk
  size_t read_ = 0;
  std::vector<Part> parts_;
  std::unique_ptr<uint8_t[]> staging_;
  uint64_t staging_bytes_ = 0;
  uint64_t filled_ = 0;  // of the staging buffer, once all is read
  uint64_t done_bytes_ = 0;
};

}  // namespace nutshell
