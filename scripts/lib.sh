# lib.sh: what every script in this folder shares. Sourced by bash, never run.
# Sets `top` (the checkout) and `cache` (per-user, outside the checkout, shared by all clones), and gives
# messages on stderr, stamped steps that survive being interrupted, and stages that end with their children.
set -euo pipefail
top=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)
cache=${NUTSHELL_CACHE:-${XDG_CACHE_HOME:-${HOME:-/tmp}/.cache}/nutshell}
mkdir -p "$cache/stamps" "$cache/bin" "$cache/models"
cache=$(cd "$cache" && pwd -P)
export NUTSHELL_CACHE=$cache
export toolchain="$cache/bin/toolchain"  # runs its arguments where emcc, cmake, ninja and node are found

say() { printf '\033[1mnutshell:\033[0m %s\n' "$*" >&2; }
die() { printf 'nutshell: %s\n' "$*" >&2; exit 1; }

# fresh NAME KEY: true when step NAME was completed for exactly this KEY.
fresh() { [[ -f "$cache/stamps/$1" && "$(<"$cache/stamps/$1")" == "$2" ]]; }
# stamp NAME KEY: written last and by rename, so a step that was killed half-way never counts as done.
stamp() { printf '%s' "$2" >"$cache/stamps/$1.$$" && mv "$cache/stamps/$1.$$" "$cache/stamps/$1"; }

# lock NAME: one process at a time (two clones, two terminals) until this script ends or `unlock`s; waits and says so.
lock() {
  command -v flock >/dev/null || return 0
  exec 9>"$cache/$1.lock"
  flock -n 9 || { say "waiting for another run ($1) ..."; flock 9; }
}
unlock() { exec 9>&-; }

# stage COMMAND...: runs it in its own process group and waits; end_stage (a trap) ends the whole group.
stage_pid=
stage() {
  local status=0
  set -m; "$@" & stage_pid=$!; set +m
  wait "$stage_pid" || status=$?
  stage_pid=
  return $status
}
end_stage() {
  trap - INT TERM
  [[ -z "$stage_pid" ]] || { kill -TERM -- "-$stage_pid" 2>/dev/null || true; wait "$stage_pid" 2>/dev/null || true; }
  exit "$1"
}
trap_signals() { trap 'end_stage 130' INT; trap 'end_stage 143' TERM HUP; }
