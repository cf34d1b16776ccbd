#include "compress/io.h"

namespace nutshell::compress {
namespace {

Status serve(const JobStep& step, const Io& io) {
  switch (step.kind) {
    case JobStep::Kind::worked:
      if (io.progress && step.of > 0)
        io.progress(std::string(name_of(step.stage)),
                    static_cast<double>(step.done) / static_cast<double>(step.of));
      return {};
    case JobStep::Kind::read:
      return io.read(step.file, step.offset, step.target);
    case JobStep::Kind::recall:
      return io.checkpoint->load(std::string(step.name), step.target);
    case JobStep::Kind::keep:
      return io.checkpoint == nullptr ? Status() : io.checkpoint->save(std::string(step.name), step.bytes);
    case JobStep::Kind::drop:
      if (io.checkpoint != nullptr) io.checkpoint->drop(std::string(step.name));
      return {};
    case JobStep::Kind::write:
      return io.write(step.bytes);
  }
  return {};
}

}  // namespace

std::string_view name_of(Stage stage) {
  constexpr std::string_view kNames[] = {"reading", "measuring", "weighing", "coding",
                                         "healing", "checking",  "writing"};
  return kNames[static_cast<size_t>(stage)];
}

Status run_to_end(Steps steps, const Io& io) {
  while (steps.next()) RETURN_IF_ERROR(serve(steps.step(), io));
  return steps.status();
}

}  // namespace nutshell::compress
