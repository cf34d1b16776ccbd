// Normalisation forms D and C: decompose canonically, order the marks, and for C compose (Unicode standard,
// section 3.11; Hangul by arithmetic, section 3.12). Declared in unicode.h.
#include <algorithm>
#include <iterator>
#include <utility>

#include "text/unicode.h"
#include "text/utf8.h"

namespace nutshell {
namespace {

#include "text/unicode_nfc.inc"

constexpr uint32_t kHangulS = 0xAC00, kHangulL = 0x1100, kHangulV = 0x1161, kHangulT = 0x11A7;
constexpr uint32_t kCountL = 19, kCountV = 21, kCountT = 28, kCountS = kCountL * kCountV * kCountT;
constexpr uint32_t kFirstMark = 0x300;  // below it nothing changes under NFC

struct Row {
  uint32_t key, first, second;
};

// Rows of three numbers, sorted by the first of them as the maker writes them.
template <size_t N>
const uint32_t* find_row(const uint32_t (&table)[N], uint32_t key) {
  size_t low = 0, high = N / 3;
  while (low < high) {
    const size_t middle = (low + high) / 2;
    if (table[middle * 3] < key) {
      low = middle + 1;
    } else {
      high = middle;
    }
  }
  return low < N / 3 && table[low * 3] == key ? table + low * 3 : nullptr;
}

uint8_t combining_class(uint32_t c) {
  if (c < kFirstMark) return 0;
  size_t low = 0, high = std::size(kCombining) / 3;  // first range whose end is not before c
  while (low < high) {
    const size_t middle = (low + high) / 2;
    if (kCombining[middle * 3 + 1] < c) {
      low = middle + 1;
    } else {
      high = middle;
    }
  }
  if (low == std::size(kCombining) / 3 || kCombining[low * 3] > c) return 0;
  return static_cast<uint8_t>(kCombining[low * 3 + 2]);
}

void decompose(uint32_t c, std::vector<uint32_t>& out) {
  if (c - kHangulS < kCountS) {
    const uint32_t s = c - kHangulS;
    out.push_back(kHangulL + s / (kCountV * kCountT));
    out.push_back(kHangulV + s % (kCountV * kCountT) / kCountT);
    if (s % kCountT) out.push_back(kHangulT + s % kCountT);
    return;
  }
  const uint32_t* row = find_row(kComposing, c);
  if (!row) row = find_row(kDecomposeOnly, c);
  if (!row) {
    out.push_back(c);
    return;
  }
  decompose(row[1], out);  // the data is a few levels deep
  if (row[2]) decompose(row[2], out);
}

// The composing pairs, sorted by (first, second).
const std::vector<Row>& pairs() {
  static const std::vector<Row> sorted = [] {
    std::vector<Row> rows;
    for (size_t i = 0; i < std::size(kComposing); i += 3) {
      rows.push_back({kComposing[i], kComposing[i + 1], kComposing[i + 2]});
    }
    std::sort(rows.begin(), rows.end(), [](const Row& a, const Row& b) {
      return std::pair(a.first, a.second) < std::pair(b.first, b.second);
    });
    return rows;
  }();
  return sorted;
}

// The composite of a pair, or 0.
uint32_t compose_pair(uint32_t first, uint32_t second) {
  if (first - kHangulL < kCountL && second - kHangulV < kCountV) {
    return kHangulS + ((first - kHangulL) * kCountV + (second - kHangulV)) * kCountT;
  }
  if (first - kHangulS < kCountS && (first - kHangulS) % kCountT == 0 &&
      second - kHangulT - 1 < kCountT - 1) {
    return first + (second - kHangulT);
  }
  const std::vector<Row>& rows = pairs();
  const auto it =
      std::lower_bound(rows.begin(), rows.end(), std::pair(first, second),
                       [](const Row& r, const auto& key) { return std::pair(r.first, r.second) < key; });
  return it != rows.end() && it->first == first && it->second == second ? it->key : 0;
}

// Marks between two starters in the order of their classes, equal ones as they came.
void order_marks(std::vector<uint32_t>& text) {
  std::vector<std::pair<uint8_t, uint32_t>> run;
  for (size_t i = 0; i < text.size();) {
    run.clear();
    size_t end = i;
    for (; end < text.size(); ++end) {
      const uint8_t combining = combining_class(text[end]);
      if (!combining) break;
      run.emplace_back(combining, text[end]);
    }
    if (run.size() > 1) {
      std::stable_sort(run.begin(), run.end(),
                       [](const auto& a, const auto& b) { return a.first < b.first; });
      for (size_t j = 0; j < run.size(); ++j) text[i + j] = run[j].second;
    }
    i = end + 1;
  }
}

void compose(std::vector<uint32_t>& text) {
  constexpr size_t kNone = static_cast<size_t>(-1);
  size_t starter = kNone, out = 0;
  uint8_t last_class = 0;  // of the character written last; what stands between starter and c blocks c
  for (size_t i = 0; i < text.size(); ++i) {
    const uint32_t c = text[i];
    const uint8_t combining = combining_class(c);
    const bool adjacent = starter != kNone && out == starter + 1;
    if (starter != kNone && (adjacent || last_class < combining)) {
      if (const uint32_t composite = compose_pair(text[starter], c)) {
        text[starter] = composite;
        continue;
      }
    }
    if (!combining) starter = out;
    last_class = combining;
    text[out++] = c;
  }
  text.resize(out);
}

}  // namespace

std::vector<uint32_t> decompose_nfd(std::span<const uint32_t> characters) {
  std::vector<uint32_t> decomposed;
  decomposed.reserve(characters.size());
  for (uint32_t c : characters) decompose(c, decomposed);
  order_marks(decomposed);
  return decomposed;
}

std::string normalize_nfc(std::string_view text) {
  std::vector<uint32_t> characters;
  append_characters(text, characters);
  const bool plain = std::all_of(characters.begin(), characters.end(),
                                 [](uint32_t c) { return c < kFirstMark || c >= kInvalidByte; });
  if (plain) return std::string(text);
  std::vector<uint32_t> decomposed = decompose_nfd(characters);
  compose(decomposed);
  std::string out;
  out.reserve(text.size());
  for (uint32_t c : decomposed) {
    if (c < kInvalidByte) {
      append_utf8(out, c);
    } else {
      out += static_cast<char>(c - kInvalidByte);
    }
  }
  return out;
}

}  // namespace nutshell
