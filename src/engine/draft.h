// Guesses the next tokens from the text so far (prompt lookup): where the last tokens stood before, what
// followed them then may follow again - quotations, code, lists, edits of a given text. L5. The guesses are
// checked by the model, so they change how fast an answer comes and never what it is.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace nutshell {

// The n tokens that followed the latest earlier place in history that ends like history does, in at least
// kMinMatch and if possible kMaxMatch tokens; nothing when there is none. Time: one pass over history.
inline constexpr size_t kMinMatch = 3, kMaxMatch = 5;
std::vector<int32_t> lookup_draft(std::span<const int32_t> history, size_t n);

// Decides from what was measured whether checking a draft is worth its time. Times in any one unit.
class DraftGain {
 public:
  // Whether a step with n drafted tokens is expected to give more tokens per time than one without.
  bool worth(size_t n);
  // A step of one token took this long.
  void plain(double time) { plain_.add(time); }
  // A step with drafted tokens took this long.
  void drafted(double time) { drafted_.add(time); }
  // Of a step's n drafted tokens this many were right.
  void checked(size_t n, size_t right);

 private:
  // Follows what is fast at once and what is slow with delay: code that a browser has just begun to run is
  // slow at first, and so is whatever is disturbed.
  struct Time {
    double mean = 0;
    int count = 0;
    void add(double value) {
      mean = count++ == 0 ? value : mean + (value - mean) * (value < mean ? 0.5 : 0.125);
    }
  };
  Time plain_, drafted_;
  double right_ = 0.7;  // share of drafted tokens that are right
  int waited_ = 0;      // drafts refused since the last one
};

}  // namespace nutshell
