// Finds stop texts in a stream of text and holds back what may become one. L5.
#pragma once

#include <algorithm>
#include <string>
#include <utility>
#include <vector>

namespace nutshell {

class StopStrings {
 public:
  StopStrings() = default;
  explicit StopStrings(std::vector<std::string> stops) : stops_(std::move(stops)) {}

  // Adds text; gives what can be shown. When a stop text is complete, stopped() is true, and neither it nor
  // anything after it is ever given.
  std::string push(const std::string& text) {
    held_ += text;
    size_t cut = std::string::npos;
    for (const std::string& stop : stops_) cut = std::min(cut, held_.find(stop));
    if (cut != std::string::npos) {
      stopped_ = true;
      std::string out = held_.substr(0, cut);
      held_.clear();
      return out;
    }
    const size_t keep = longest_open_suffix();
    std::string out = held_.substr(0, held_.size() - keep);
    held_.erase(0, held_.size() - keep);
    return out;
  }
  // What was held back, at the end without a stop.
  std::string flush() { return std::exchange(held_, {}); }
  bool stopped() const { return stopped_; }

 private:
  // Length of the longest suffix of held_ that begins a stop text.
  size_t longest_open_suffix() const {
    size_t longest = 0;
    for (const std::string& stop : stops_)
      for (size_t n = std::min(stop.size() - 1, held_.size()); n > longest; --n)
        if (held_.compare(held_.size() - n, n, stop, 0, n) == 0) longest = n;
    return longest;
  }

  std::vector<std::string> stops_;  // none empty
  std::string held_;
  bool stopped_ = false;
};

}  // namespace nutshell
