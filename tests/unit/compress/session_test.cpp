// A compression through JSON, as the browser's worker drives it: what it asks for, in which order, and what
// it refuses.
#include <doctest/doctest.h>

#include <algorithm>
#include <cstring>
#include <map>

#include "compress/session.h"
#include "support/compress_tiny.h"

using namespace nutshell;
using namespace nutshell::compress;
using namespace nutshell::test;
using nlohmann::json;

namespace {

std::string words(int n, int first) {
  std::string text;
  for (int i = 0; i < n; ++i) text += "word " + std::to_string((first + i * 7919) % 1000) + ", ";
  return text;
}

// The worker: files of the model, entries that were kept, the file that is written.
struct Driver {
  std::shared_ptr<test::Bytes> model = tiny_bytes();
  std::map<std::string, std::vector<uint8_t>> kept;
  std::vector<uint8_t> file;
  std::map<std::string, int> stages;

  static uint8_t* at(const json& step) {
    return reinterpret_cast<uint8_t*>(step["pointer"].get<uintptr_t>());
  }
  // The error of the steps, or "done"; "stopped" after n of them.
  std::string drive(CompressSession& session, int n = 1 << 20) {
    for (; n > 0; --n) {
      const auto reply = session.step();
      if (!reply.ok()) return std::string(error_name(reply.status().code()));
      const json& step = *reply;
      const std::string state = step["state"];
      if (state == "done") return state;
      if (state == "work") {
        ++stages[step["stage"].get<std::string>()];
        continue;
      }
      if (state == "drop") {
        CHECK(kept.erase(step["name"]) == 1);
        continue;
      }
      const auto length = step["length"].get<size_t>();
      if (state == "read") std::memcpy(at(step), model->data() + step["offset"].get<size_t>(), length);
      if (state == "recall") std::memcpy(at(step), kept.at(step["name"]).data(), length);
      if (state == "keep") kept[step["name"]].assign(at(step), at(step) + length);
      if (state == "write") file.insert(file.end(), at(step), at(step) + length);
    }
    return "stopped";
  }
  json open_request() const { return {{"files", {{{"name", "tiny.gguf"}, {"bytes", model->size()}}}}}; }
  json plan_request() const {
    json request{
        {"calibration", {{{"name", "a.txt"}, {"text", words(4000, 1)}}}}, {"windows", 2}, {"heldOut", 1}};
    for (const auto& [name, bytes] : kept)
      request["kept"].push_back({{"name", name}, {"bytes", bytes.size()}});
    return request;
  }
  // Up to the plan.
  json begin(CompressSession& session) {
    REQUIRE(session.open(open_request()).ok());
    REQUIRE(drive(session) == "done");
    CHECK(session.describe()->at("calibrated") == true);
    CHECK(session.describe()->at("architecture") == "llama");
    const auto plan = session.plan(plan_request());
    REQUIRE_MESSAGE(plan.ok(), plan.status().message());
    return *plan;
  }
};

}  // namespace

TEST_CASE("compress session: plan, sizes and files, begun again where it was") {
  Driver driver;
  std::vector<uint8_t> first;
  uint64_t bytes = 0;
  {
    CompressSession session(1);
    const json plan = driver.begin(session);
    const auto smallest = plan["smallestBytes"].get<uint64_t>(),
               largest = plan["largestBytes"].get<uint64_t>();
    CHECK(smallest < largest);
    CHECK(plan["storageBytes"].get<uint64_t>() > largest);
    bytes = (smallest + largest) / 2;
    CHECK(session.make({{"bytes", bytes}}).status().code() ==
          ErrorCode::invalid_argument);  // not measured yet
    REQUIRE(session.analyse().ok());
    CHECK(driver.drive(session, 5) == "stopped");
    REQUIRE(session.analyse().ok());  // goes on
    REQUIRE(driver.drive(session) == "done");
    CHECK(driver.stages["measuring"] == 2);
    const auto sizes = session.sizes({{"bytes", {smallest, bytes, largest}}});
    REQUIRE(sizes.ok());
    const json& list = (*sizes)["sizes"];
    CHECK(list[0]["predictedKl"].get<double>() > list[2]["predictedKl"].get<double>());
    CHECK(list[1]["memoryBytes"].get<uint64_t>() > bytes);
    CHECK_FALSE(session.sizes({{"bytes", {smallest - 1}}}).ok());
    CHECK(session.make({{"bytes", 1}}).status().code() == ErrorCode::invalid_argument);
    REQUIRE(session.make({{"bytes", bytes}}).ok());
    REQUIRE(driver.drive(session) == "done");
    const json result = *session.result();
    CHECK(result["bytes"] == driver.file.size());
    CHECK(result["meanKl"].get<double>() > 0);
    first = driver.file;
    // Nothing is left of a file that is made; other sizes must not ask for it.
    for (const auto& [name, entry] : driver.kept) CHECK_FALSE(name.starts_with("rows "));
    for (const uint64_t other : {largest, bytes}) {
      driver.file.clear();
      REQUIRE(session.make({{"bytes", other}}).ok());
      REQUIRE(driver.drive(session) == "done");
      CHECK((driver.file == first) == (other == bytes));
    }
  }
  CompressSession again(2);
  driver.file.clear();
  driver.stages.clear();
  driver.begin(again);
  REQUIRE(again.analyse().ok());
  REQUIRE(driver.drive(again) == "done");
  REQUIRE(again.make({{"bytes", bytes}}).ok());
  REQUIRE(driver.drive(again) == "done");
  CHECK(driver.file == first);
  CHECK(driver.stages["measuring"] == 0);
}

TEST_CASE("compress session: a machine with less memory gets shorter windows, then none") {
  Driver driver;
  uint64_t needed = 0;  // without a limit; then each time a byte less than the plan before
  std::vector<int64_t> lengths;
  for (bool calibrated = true; calibrated;) {
    CompressSession session(1);
    REQUIRE(session.open(driver.open_request()).ok());
    REQUIRE(driver.drive(session) == "done");
    json request = driver.plan_request();
    request["windows"] = 1;
    if (needed > 0) request["memoryLimit"] = needed - 1;
    const auto plan = session.plan(request);
    REQUIRE_MESSAGE(plan.ok(), plan.status().message());
    const auto bytes = (*plan)["memoryBytes"].get<uint64_t>();
    if (needed > 0) CHECK(bytes < needed);
    needed = bytes;
    calibrated = (*plan)["calibrated"];
    if (calibrated) lengths.push_back((*plan)["windowTokens"]);
  }
  REQUIRE(lengths.size() >= 2);
  CHECK(lengths[0] == 512);
  CHECK(lengths[1] < 512);
  CompressSession session(1);
  REQUIRE(session.open(driver.open_request()).ok());
  REQUIRE(driver.drive(session) == "done");
  json request = driver.plan_request();
  request["memoryLimit"] = needed - 1;
  CHECK(session.plan(request).status().code() == ErrorCode::out_of_memory);
}

TEST_CASE("compress session: what is asked in the wrong order or with the wrong words is refused") {
  Driver driver;
  CompressSession session(1);
  CHECK_FALSE(session.step().ok());
  CHECK_FALSE(session.describe().ok());
  CHECK_FALSE(session.plan(json::object()).ok());
  CHECK_FALSE(session.analyse().ok());
  CHECK_FALSE(session.result().ok());
  CHECK_FALSE(session.open(json::array()).ok());
  CHECK_FALSE(session.open({{"files", {1, "x", {{"name", 3}}}}}).ok());
  SUBCASE("a file that is no model") {
    std::fill(driver.model->begin(), driver.model->begin() + 4, uint8_t{'x'});
    REQUIRE(session.open(driver.open_request()).ok());
    CHECK(driver.drive(session) == "bad_magic");
  }
  SUBCASE("texts of another shape") {
    REQUIRE(session.open(driver.open_request()).ok());
    CHECK_FALSE(session.open(driver.open_request()).ok());
    REQUIRE(driver.drive(session) == "done");
    for (const char* text :
         {R"({"calibration": [1]})", R"({"calibration": [{"name": "a"}]})", "{}",
          R"({"calibration": [{"name": "a", "text": "short"}], "kept": [1, {"name": 2}]})"})
      CHECK(session.plan(json::parse(text)).status().code() == ErrorCode::invalid_argument);
  }
}
