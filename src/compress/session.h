// A compression as the outside sees it: one model, JSON in and out. L5. bind/ hands these calls to JavaScript
// unchanged; tests call them natively. Not thread-safe: one caller.
//
// Order: open(), steps to the end, plan(), then analyse(), sizes() and make() as often as wanted, the steps
// of each to the end. Steps that are not asked for any more wait: the same call goes on with them.
#pragma once

#include <chrono>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>

#include "base/parallel.h"
#include "compress/job.h"
#include "engine/header_reader.h"

namespace nutshell::compress {

class CompressSession {
 public:
  using Reply = Result<nlohmann::json>;

  // Start::later: steps answer {state:"wait"} for some time while threads have not begun.
  explicit CompressSession(int n_threads, ThreadPool::Start start = ThreadPool::Start::wait)
      : pool_(n_threads, start) {}

  // {files [{name, bytes}], name?}. Its steps read the header.
  Reply open(const nlohmann::json& request);
  // After these steps: {calibrated, name, architecture, parameters, bytes}. calibrated: whether plan() wants
  // texts.
  Reply describe() const;
  // {calibration? [{name, text}], evaluation?, windows?, heldOut?, seed?, memoryLimit?, kept? [{name,
  // bytes}]} -> {calibrated, smallestBytes, largestBytes, memoryBytes, storageBytes, windowTokens}. Texts:
  // encode_calibration();
  // without evaluation the last eighth of each calibration text is kept for it. windows, heldOut: of 512
  // tokens; they are of fewer tokens (and so many more) where memory asks for it, and where it does not do
  // for the shortest, nothing is calibrated.
  Reply plan(const nlohmann::json& request);
  Reply analyse();
  // {bytes [n]} -> {sizes [{bytes, bitsPerWeight, predictedKl or null, memoryBytes}]}; memoryBytes: of an
  // engine with the file and 2048 tokens of context, about.
  Reply sizes(const nlohmann::json& request) const;
  Reply make(const nlohmann::json& request);  // {bytes}
  // {state:"work", stage, done, of} | {state:"read", file, offset, length, pointer} |
  // {state:"recall", name, length, pointer}: put those bytes at the address `pointer`, then the next step |
  // {state:"keep", name, length, pointer} | {state:"drop", name} | {state:"write", length, pointer} |
  // {state:"wait"} | {state:"done"}. After an error nothing is under way.
  Reply step();
  // After make(). {bytes, bitsPerWeight, predictedKl, meanKl, top1Agreement, perplexityBefore,
  // perplexityAfter}; null what is not known.
  Reply result() const;

 private:
  Steps read_header(std::vector<ModelFile> files);
  bool threads_are_late();
  Status read_texts(const nlohmann::json& request);
  CompressOptions options_of(const nlohmann::json& request) const;
  uint64_t engine_bytes(uint64_t file_bytes) const;
  uint64_t parameters() const;
  Reply begin(std::string what, Steps steps);

  ThreadPool pool_;
  std::optional<std::chrono::steady_clock::time_point> waiting_since_;
  std::string name_;
  SourceModel source_;
  bool opened_ = false, calibrated_ = false;
  std::vector<int32_t> calibration_, evaluation_;
  std::map<std::string, uint64_t> kept_;
  std::unique_ptr<CompressJob> job_;
  std::optional<Steps> steps_;
  std::string under_way_;  // which call they are of
};

}  // namespace nutshell::compress
