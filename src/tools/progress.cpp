// The progress line of long commands.
#include <unistd.h>

#include <chrono>
#include <cstdio>

#include "tools/commands.h"

namespace nutshell {

struct ProgressLine::State {
  using Clock = std::chrono::steady_clock;
  Clock::time_point start = Clock::now(), stage_start = start, last = start;
  std::string stage;
  int shown = -1;  // tenths, where there is no terminal
  bool terminal = ::isatty(2) == 1, open = false;

  ~State() {
    if (open) std::fputc('\n', stderr);
  }
  void show(const std::string& now, double done) {
    const auto time = Clock::now();
    if (now != stage) {
      stage = now;
      stage_start = last;  // its first piece is done
      shown = -1;
      if (open) std::fputc('\n', stderr);
      open = false;
    }
    last = time;
    const int tenths = static_cast<int>(10 * done);
    if (!terminal && tenths == shown) return;
    shown = tenths;
    const auto seconds = [&](Clock::time_point from) {
      return std::chrono::duration<double>(time - from).count();
    };
    const double left = done > 0 ? seconds(stage_start) * (1 - done) / done : 0;
    std::fprintf(stderr, "%s%-12s %3.0f %%  %5.0f s, %.0f s left in this stage%s", terminal ? "\r" : "",
                 stage.c_str(), 100 * done, seconds(start), left, terminal ? "\033[K" : "\n");
    open = terminal;
  }
};

ProgressLine::ProgressLine() : state_(std::make_shared<State>()) {}
void ProgressLine::operator()(const std::string& stage, double done) const { state_->show(stage, done); }

}  // namespace nutshell
