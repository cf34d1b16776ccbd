// A compression driven step by step: interrupted anywhere, several sizes from one measuring, and entries that
// some other program made.
#include <doctest/doctest.h>

#include <algorithm>
#include <cstring>
#include <map>

#include "support/compress_tiny.h"

using namespace nutshell;
using namespace nutshell::compress;
using namespace nutshell::test;

namespace {

using Bytes = std::vector<uint8_t>;

CompressOptions few_windows(bool data_free) {
  CompressOptions options;
  options.window_tokens = 64;
  options.windows = 4;
  options.held_out = 2;
  options.keep_seconds = 0;  // after every window
  options.data_free = data_free;
  return options;
}

// What outlives a process: entries, and the file as far as it is written.
struct Device {
  std::shared_ptr<test::Bytes> model = tiny_bytes();
  std::map<std::string, Bytes> kept, dropped;
  Bytes file;
  std::map<Stage, int> worked;

  KeptBytes sizes() {
    return [this](const std::string& name) {
      const auto it = kept.find(name);
      return it == kept.end() ? uint64_t{0} : uint64_t{it->second.size()};
    };
  }
  void serve(const JobStep& step) {
    switch (step.kind) {
      case JobStep::Kind::worked:
        ++worked[step.stage];
        CHECK(step.done <= step.of);
        break;
      case JobStep::Kind::read:
        REQUIRE(step.offset + step.target.size() <= model->size());
        std::memcpy(step.target.data(), model->data() + step.offset, step.target.size());
        break;
      case JobStep::Kind::recall:
        REQUIRE(kept[std::string(step.name)].size() == step.target.size());
        std::memcpy(step.target.data(), kept[std::string(step.name)].data(), step.target.size());
        break;
      case JobStep::Kind::keep:
        kept[std::string(step.name)].assign(step.bytes.begin(), step.bytes.end());
        break;
      case JobStep::Kind::drop:
        REQUIRE_MESSAGE(kept.contains(std::string(step.name)), step.name);
        dropped[std::string(step.name)] = std::move(kept.extract(std::string(step.name)).mapped());
        break;
      case JobStep::Kind::write:
        file.insert(file.end(), step.bytes.begin(), step.bytes.end());
        break;
    }
  }
  // False when it was stopped: `left` steps are made, and counted down.
  bool run(Steps steps, int& left) {
    while (left > 0 && steps.next()) {
      serve(steps.step());
      --left;
    }
    if (left == 0) return false;
    REQUIRE_MESSAGE(steps.status().ok(), steps.status().message());
    return true;
  }
};

// A process: opens the model as far as a graph goes.
struct Process {
  SourceModel source;
  ThreadPool pool;
  std::vector<int32_t> calibration = random_tokens(256, 1), evaluation = random_tokens(256, 2);
  CompressJob job;

  Process(Device& device, const CompressOptions& options, int threads = 1)
      : source(open(device)),
        pool(threads),
        job(source, options, calibration, evaluation, pool, device.sizes()) {
    const Status status = job.check();
    REQUIRE_MESSAGE(status.ok(), status.message());
  }
  static SourceModel open(Device& device) {
    auto header = parse_gguf(*device.model, device.model->size());
    REQUIRE(header.ok());
    SourceModel source;
    int left = 1000000;
    REQUIRE(device.run(open_source(header_of(std::move(**header)), source), left));
    return source;
  }
};

Bytes make(Device& device, const CompressOptions& options, uint64_t bytes, int threads = 1) {
  Process process(device, options, threads);
  int left = 1000000;
  device.file.clear();
  device.worked.clear();
  REQUIRE(device.run(process.job.analyse(), left));
  REQUIRE(device.run(process.job.make(bytes), left));
  for (const auto& [name, entry] : device.kept)
    CHECK_MESSAGE((name == "analysis" || name.starts_with("moments ")), name);
  CHECK(process.job.report().bytes == device.file.size());
  return device.file;
}

uint64_t middle_size(const CompressOptions& options) {
  Device device;
  Process process(device, options);
  return (process.job.smallest_bytes() + process.job.largest_bytes()) / 2;
}

}  // namespace

TEST_CASE("compress job: interrupted after any step and begun again, it makes the same file") {
  for (const bool data_free : {false, true}) {
    CAPTURE(data_free);
    CompressOptions options = few_windows(data_free);
    options.most_moments = 64;  // those of the feed-forward are cut into blocks
    const uint64_t bytes = middle_size(options);
    Device whole;
    const Bytes expected = make(whole, options, bytes);
    CHECK(expected.size() <= bytes);
    const int n_coding = whole.worked[Stage::coding];
    int total = 0;
    for (int stop = 1;; stop += 7) {
      CAPTURE(stop);
      Device device;
      int left = stop;
      Process first(device, options);
      if (device.run(first.job.analyse(), left) && device.run(first.job.make(bytes), left)) break;
      const bool measured = device.worked[Stage::coding] > 0;
      const int windows = device.worked[Stage::measuring];
      const int coded =
          static_cast<int>(std::count_if(device.kept.begin(), device.kept.end(),
                                         [](auto& entry) { return entry.first.starts_with("rows "); }));
      CHECK(make(device, options, bytes, 2) == expected);
      if (measured) CHECK(device.worked[Stage::weighing] == 0);
      // The one that was being kept is lost at most.
      if (!data_free) CHECK(device.worked[Stage::measuring] <= 4 - windows + 1);
      if (data_free) CHECK(device.worked[Stage::coding] <= n_coding - coded);
      total += coded;
    }
    CHECK(total > 0);
  }
}

TEST_CASE("compress job: one that goes on with the steps it had makes the same file too") {
  const CompressOptions options = few_windows(false);
  const uint64_t bytes = middle_size(options);
  Device one, two;
  const Bytes expected = make(one, options, bytes);
  Process process(two, options);
  int left = 1000000;
  REQUIRE(two.run(process.job.analyse(), left));
  Steps steps = process.job.make(bytes);
  for (int i = 0; i < 40; ++i) {
    REQUIRE(steps.next());
    two.serve(steps.step());
  }
  CHECK(process.job.predict(bytes).ok());  // asked in between
  REQUIRE(two.run(std::move(steps), left));
  CHECK(two.file == expected);
}

TEST_CASE("compress job: several sizes come from one measuring, each as if made alone") {
  for (const bool data_free : {false, true}) {
    CAPTURE(data_free);
    const CompressOptions options = few_windows(data_free);
    Device device;
    Process process(device, options);
    int left = 1000000;
    REQUIRE(device.run(process.job.analyse(), left));
    const uint64_t smallest = process.job.smallest_bytes(), largest = process.job.largest_bytes();
    double before = 1e30;
    device.worked.clear();
    for (int i = 0; i <= 4; ++i) {
      const uint64_t bytes = smallest + (largest - smallest) * static_cast<uint64_t>(i) / 4;
      const auto predicted = process.job.predict(bytes);
      REQUIRE(predicted.ok());
      CHECK(predicted->kl < before);
      before = predicted->kl;
      device.file.clear();
      REQUIRE(device.run(process.job.make(bytes), left));
      CHECK(process.job.report().predicted_kl == predicted->kl);
      CHECK(device.file.size() <= bytes);
      if (i == 0) CHECK(device.file.size() == smallest);
      const Bytes file = device.file;
      Device alone;
      CHECK(make(alone, options, bytes) == file);
    }
    CHECK(device.worked[Stage::weighing] == 0);
    for (const auto& [name, bits] : process.job.report().bits) CHECK(bits == 4.0);
    CHECK(process.job.predict(smallest - 1).status().code() == ErrorCode::invalid_argument);
    uint64_t kept = 0;
    for (const auto* entries : {&device.kept, &device.dropped})
      for (const auto& [name, bytes] : *entries)
        if (!name.starts_with("inputs ")) kept += bytes.size();  // they end before the others come
    CHECK(kept < process.job.kept_bytes(largest) + 4096);
  }
}

TEST_CASE("compress job: without data every matrix is read when it is coded, and none is held") {
  const CompressOptions options = few_windows(true);
  Device device;
  Process process(device, options);
  int left = 1000000;
  REQUIRE(device.run(process.job.analyse(), left));
  REQUIRE(device.run(process.job.make(process.job.largest_bytes()), left));
  CHECK(process.source.weights.empty());
  CHECK(process.job.report().quality.scored == 0);
}

TEST_CASE("compress job: entries that are damaged or of something else are made anew") {
  const CompressOptions options = few_windows(false);
  const uint64_t bytes = middle_size(options);
  Device device;
  const Bytes expected = make(device, options, bytes);
  const std::map<std::string, Bytes> after = device.kept;
  std::map<std::string, Bytes> good = after;  // as they were when the file was written
  for (const auto& [name, entry] : device.dropped)
    if (name.starts_with("rows ")) good[name] = entry;
  for (const auto& [name, entry] : good)
    for (const int damage : {0, 1, 2, 3}) {
      if (damage == 2 && !name.starts_with("rows token") && name != "analysis") continue;
      CAPTURE(name);
      CAPTURE(damage);
      device.kept = good;
      Bytes& broken = device.kept[name];
      if (damage == 0) broken.pop_back();
      if (damage == 1) broken[0] ^= 1;                                           // another mark
      if (damage == 2) broken[name == "analysis" ? 8 : 12] ^= 1;                 // a count
      if (damage == 3) std::memset(broken.data() + broken.size() - 4, 0xff, 4);  // not a number, or codes
      const bool codes = name.starts_with("rows ") && damage == 3;  // nothing tells them from good ones
      const Bytes file = make(device, options, bytes);
      CHECK((file == expected) == !codes);
      if (damage == 1) CHECK(device.kept == after);
    }
  SUBCASE("while it is measured") {
    Device stopped;
    Process process(stopped, options);
    Steps steps = process.job.analyse();
    while (stopped.worked[Stage::weighing] == 0 && steps.next()) stopped.serve(steps.step());
    const std::map<std::string, Bytes> there = stopped.kept;
    CHECK(there.contains("inputs blk.1.ffn_down.weight"));
    for (const char* name : {"inputs blk.1.ffn_down.weight", "moments blk.1.ffn_down.weight", "analysis"})
      for (const int damage : {0, 1, 2, 3}) {
        CAPTURE(name);
        CAPTURE(damage);
        stopped.kept = there;
        Bytes& broken = stopped.kept[name];
        if (damage == 0) broken.clear();
        if (damage == 1) broken[0] ^= 1;                            // another mark
        if (damage == 2) broken[8] = 5;                             // more windows than there are
        if (damage == 3) std::memset(broken.data() + 16, 0xff, 8);  // not a number
        CHECK(make(stopped, options, bytes) == expected);
        CHECK(stopped.worked[Stage::measuring] == 4);
      }
    stopped.kept = there;
    CHECK(make(stopped, options, bytes) == expected);
    CHECK(stopped.worked[Stage::measuring] == 0);
  }
  SUBCASE("another seed") {
    CompressOptions other = options;
    other.seed = 2;
    Device fresh;
    const Bytes wanted = make(fresh, other, bytes);
    CHECK(make(device, other, bytes) == wanted);
    CHECK(device.worked[Stage::weighing] > 0);
    CHECK(wanted != expected);
  }
  SUBCASE("another model") {
    device.kept = good;
    Device fresh;
    for (Device* each : {&fresh, &device}) {
      auto header = parse_gguf(*each->model, each->model->size());
      const GgufTensor* t = (*header)->find_tensor("blk.1.ffn_up.weight");
      (*each->model)[(*header)->data_offset() + t->offset + t->bytes / 5] ^= 1;  // a bit of a value
    }
    CHECK(make(device, options, bytes) == make(fresh, options, bytes));
    CHECK(device.worked[Stage::weighing] > 0);
  }
  SUBCASE("another size") {
    device.kept = good;
    Device fresh;
    const uint64_t less = bytes - 4000;
    CHECK(make(device, options, less) == make(fresh, options, less));
  }
}

TEST_CASE("compress job: the native call takes up what a killed one left") {
  class MemoryCheckpoint : public Checkpoint {
   public:
    std::map<std::string, Bytes> saved;
    int left = 1000;
    uint64_t size(const std::string& name) override { return saved[name].size(); }
    Status load(const std::string& name, std::span<uint8_t> target) override {
      std::memcpy(target.data(), saved[name].data(), target.size());
      return {};
    }
    Status save(const std::string& name, std::span<const uint8_t> bytes) override {
      if (left-- <= 0) return {ErrorCode::io_error, "killed"};
      saved[name].assign(bytes.begin(), bytes.end());
      return {};
    }
    void drop(const std::string& name) override { saved.erase(name); }
  };
  auto source = open_bytes(tiny_bytes());
  REQUIRE(source.ok());
  CompressOptions options = few_windows(false);
  options.bits = 12;
  const std::vector<int32_t> text = random_tokens(256, 1), other = random_tokens(256, 2);
  ThreadPool pool(2);
  Bytes file;
  const auto run = [&](Checkpoint* checkpoint) {
    file.clear();
    const auto write = [&](std::span<const uint8_t> bytes) {
      file.insert(file.end(), bytes.begin(), bytes.end());
      return Status();
    };
    return nutshell::compress::compress(*source, options, text, other, pool,
                                        {source->read, write, {}, checkpoint})
        .status();
  };
  REQUIRE(run(nullptr).ok());
  const Bytes whole = file;
  for (const int saves : {0, 5, 20}) {
    CAPTURE(saves);
    MemoryCheckpoint store;
    store.left = saves;
    CHECK(run(&store).code() == ErrorCode::io_error);
    CHECK(file.empty());
    store.left = 1000;
    REQUIRE(run(&store).ok());
    CHECK(file == whole);
  }
}
