// The merges of byte-pair encoding and their application. L4; inside text/.
// Sennrich et al. 2016; order as in Hugging Face tokenizers: the merge of lowest rank first, leftmost first
// among equals, until none applies.
#pragma once

#include <cstdint>
#include <vector>

#include "base/result.h"

namespace nutshell {

struct Merge {
  int32_t left, right, result;  // token ids
};

class MergeTable {
 public:
  // merges: by rank. Precondition: all ids are in [0, n_vocab). corrupt_file when a pair comes twice.
  static Result<MergeTable> build(std::vector<Merge> merges, int32_t n_vocab);

  // Buffers reused from call to call.
  struct Scratch {
    std::vector<uint32_t> previous, next;
    std::vector<uint64_t> queue;
  };
  // Merges ids in place. O(n log n). Precondition: ids.size() < 2^32.
  void apply(std::vector<int32_t>& ids, Scratch& scratch) const;

 private:
  // Rank of the pair, or -1.
  int32_t find(int32_t left, int32_t right) const;

  struct Entry {
    int32_t right, rank;
  };
  std::vector<Merge> merges_;    // by rank
  std::vector<uint32_t> first_;  // entries of left id i: [first_[i], first_[i + 1]), sorted by right
  std::vector<Entry> entries_;
};

}  // namespace nutshell
