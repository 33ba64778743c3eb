#!/usr/bin/env bash
# Looks at the page store and at everything that SQLite's C code and ours share with tools that take minutes: by hand, before a change of
# src/engine/{pages,vfs,connection,memory,statement,image} or src/ltx is called done. CI does not run it.
#
#   testbench/deep.sh miri        the page store under Miri, its tests with threads once per seed
#   testbench/deep.sh schedules   the same tests under some hundred thousand chosen schedules
#   testbench/deep.sh random      random SQL beside stock SQLite, with the seeds ${RANDOM_SEEDS:-0..5000}
#   testbench/deep.sh asan        databases in memory with AddressSanitizer, in Rust and in SQLite, and with SQLite's own assertions
#   testbench/deep.sh tsan        the same tests with ThreadSanitizer
#   testbench/deep.sh fuzz        damaged images, for ${FUZZ_SECONDS:-120} seconds
#   testbench/deep.sh ltx         damaged LTX files, as long
#   testbench/deep.sh messages    hostile bodies and frames of sockets, as long
#   testbench/deep.sh simulator   processes on one misbehaving bucket, with the seeds ${SIMULATOR_SEEDS:-0..10000}
#   testbench/deep.sh kills       real processes on a real store, killed ${KILLS:-1000} times at the moments of ${KILLS_SEED:-1}
#   testbench/deep.sh history     what clients were told for ${HISTORY_SECONDS:-600} seconds, with kills, takeovers and a store that fails at the
#                                 moments of ${HISTORY_SEED:-1}: whether it has an order; and whether broken promises are noticed
#   testbench/deep.sh flips       each object of a database harmed in each way, ${FLIPS:-50} times at other places
#   testbench/deep.sh seed        the Python package beside ours, ${SEED_RUNS:-100} times at the moments of ${SEED_MOMENTS:-1}
#   testbench/deep.sh schemathesis  requests made up from the OpenAPI document, for ${SCHEMATHESIS_SECONDS:-300} seconds, by ${SCHEMATHESIS_SEED:-1}
#   testbench/deep.sh e2e         the scenarios in a real cluster, with what they do again and again done ${E2E_ROUNDS:-10} times: kills, upgrades and
#                                 rollbacks under load, restarts of containerd and the kubelet
#   testbench/deep.sh             each of them
#
# All but the last seven build from fuzz/, a workspace of its own that takes the engine's files without what speaks to
# buckets, into target/deep/. What a fuzzer learned stays in target/deep/fuzz-{image,ltx}/corpus and helps the next run; what it found lies in findings beside it.
# The first run takes some ten minutes more: it installs a nightly toolchain, cargo-fuzz and, on Debian, clang.
set -euo pipefail

# Rust has these tools in nightly only, and each nightly is another compiler, so one is pinned by its day. A machine that cannot fetch it
# may have the same one installed as `nightly`.
nightly='nightly-2026-05-20'
nightly_version='1.97.0-nightly (e50aa6fba 2026-05-19)'
cargo_fuzz_version=0.13.2

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
target=$root/target/deep
tools=${BUCKETHEAD_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/buckethead}/tools

do_simulator() {
  cd "$root"
  BUCKETHEAD_SIMULATOR_SEEDS=${SIMULATOR_SEEDS:-0..10000} env -u RUSTUP_TOOLCHAIN cargo test --locked --package engine --lib simulator::no_promise
}

do_kills() {
  cd "$root"
  BUCKETHEAD_KILLS=${KILLS:-1000} BUCKETHEAD_KILLS_SEED=${KILLS_SEED:-1} \
    env -u RUSTUP_TOOLCHAIN cargo test --locked --package buckethead --test it -- --nocapture kills::
}

do_history() {
  cd "$root"
  BUCKETHEAD_HISTORY_SECONDS=${HISTORY_SECONDS:-600} BUCKETHEAD_HISTORY_SEED=${HISTORY_SEED:-1} \
    env -u RUSTUP_TOOLCHAIN cargo test --locked --package buckethead --test it -- --nocapture history::
}

do_flips() {
  cd "$root"
  BUCKETHEAD_FLIPS=${FLIPS:-50} env -u RUSTUP_TOOLCHAIN cargo test --locked --package engine --lib host::tests::flips
}

do_seed() {
  cd "$root"
  BUCKETHEAD_SEED_RUNS=${SEED_RUNS:-100} BUCKETHEAD_SEED_MOMENTS=${SEED_MOMENTS:-1} \
    env -u RUSTUP_TOOLCHAIN cargo test --locked --package buckethead --test it -- --nocapture interop::the_seed_at_moments_of_chance
}

do_schemathesis() {
  cd "$root"
  local program
  program=$(env -u RUSTUP_TOOLCHAIN cargo build --locked --message-format json-render-diagnostics |
    sed -n 's/.*"executable":"\([^"]*\/buckethead\)".*/\1/p')
  testbench/schemathesis.sh "$program" "$target/schemathesis"
}

do_e2e() {
  cd "$root"
  BUCKETHEAD_E2E_ROUNDS=${E2E_ROUNDS:-10} env -u RUSTUP_TOOLCHAIN e2e/run.sh
}

do_miri() {
  export CARGO_TARGET_DIR=$target/miri MIRIFLAGS='-Zmiri-strict-provenance -Zmiri-disable-isolation'
  cargo miri test --locked --package pages --lib
  # A large commit takes Miri half a minute.
  MIRIFLAGS+=' -Zmiri-many-seeds=0..32' cargo miri test --locked --package pages --lib -- schedules:: --skip large
}

do_schedules() {
  CARGO_TARGET_DIR=$target/schedules RUSTFLAGS='--cfg schedules' \
    cargo test --locked --release --package pages --lib -- schedules::
}

do_random() {
  CARGO_TARGET_DIR=$target/random BUCKETHEAD_RANDOM_SEEDS=${RANDOM_SEEDS:-0..5000} \
    cargo test --locked --release --package memory --lib -- memory::tests::random
}

do_asan() {
  # Every allocation by itself, so that nothing hides in a pool of SQLite's.
  local pools='-DSQLITE_DEFAULT_LOOKASIDE=0,0 -DSQLITE_DEFAULT_PCACHE_INITSZ=0'
  export ASAN_OPTIONS=detect_leaks=1:detect_stack_use_after_return=1
  sanitize address "$pools"
  sanitized_tests asan
  # Its own assertions do not hold where a test refuses what no file system refuses, nor, in FTS5, where a statement is half read while
  # others run, which is so on stock databases as well.
  sanitize address "-DSQLITE_DEBUG $pools"
  sanitized_tests asan --skip memory::tests::random --skip vfs::tests::commit --skip vfs::tests::limits --skip vfs::tests::scarce
}

do_tsan() {
  sanitize thread
  # SQLite tests whether it is initialised without a lock, and orders that by a barrier that the tool does not know.
  TSAN_OPTIONS="suppressions=$(printf 'race:^sqlite3Initialize$\n' | keep tsan-suppressions)" sanitized_tests tsan
}

do_fuzz() {
  sanitize address,fuzzer-no-link '-DSQLITE_DEFAULT_LOOKASIDE=0,0 -DSQLITE_DEFAULT_PCACHE_INITSZ=0'
  # It brings its own.
  unset RUSTFLAGS
  fuzz image "$target/fuzz-image/seeds" -max_len=32768
}

do_ltx() {
  # A page takes 64 KiB, and no claim of a file may take more than a few of them.
  fuzz ltx "$root/src/ltx/tests/it/fixtures" -max_len=8192 -malloc_limit_mb=1
}

do_messages() {
  # A message may have 16 MiB, and what announces more is refused before it takes memory.
  fuzz messages "$root/fuzz/fuzz_targets/messages/seeds" -max_len=16384 -malloc_limit_mb=64
}

# The target $1, which begins with what lies in the folder $2. Further flags are the fuzzer's.
fuzz() {
  local cargo_fuzz place=$target/fuzz-$1
  cargo_fuzz=$(provide_cargo_fuzz)
  "$cargo_fuzz" build "$1" --target-dir "$target/fuzz"
  local program=$target/fuzz/$host/release/$1 flags=(-entropic=0 -timeout=10 "-artifact_prefix=$place/findings/" "${@:3}")
  export ASAN_OPTIONS=malloc_context_size=10
  mkdir -p "$place"/{corpus,seeds,findings}
  # Each run begins with all that was kept. Of inputs that reach the same code the smallest is enough.
  if (($(find "$place/corpus" -type f | wc -l) > 1000)); then
    rm -rf "$place/corpus.new"
    mkdir "$place/corpus.new"
    "$program" -merge=1 "${flags[@]}" "$place/corpus.new" "$place/corpus"
    rm -rf "$place/corpus"
    mv "$place/corpus.new" "$place/corpus"
  fi
  SEEDS=$place/seeds "$program" "$place/corpus" "$2" "${flags[@]}" -max_total_time="${FUZZ_SECONDS:-120}" -print_final_stats=1
}

# Compiles SQLite, and Rust where the caller does not say otherwise, with this sanitizer. Further flags are SQLite's.
sanitize() {
  local clang arch=${host//-/_}
  clang=$(provide_clang)
  export RUSTFLAGS=-Zsanitizer=$1 "CC_$arch=$clang" "CFLAGS_$arch=-fsanitize=$1 -g1 -fno-omit-frame-pointer"
  LIBSQLITE3_FLAGS="$(sed -n 's/^LIBSQLITE3_FLAGS = "\(.*\)"$/\1/p' "$root/.cargo/config.toml") ${2:-}"
  export LIBSQLITE3_FLAGS
}

# The standard library is built, too: the tools must see it lock and allocate. What follows the folder's name says which tests.
sanitized_tests() {
  CARGO_TARGET_DIR=$target/$1 cargo test --locked --package memory --lib -Zbuild-std --target "$host" -- "${@:2}"
}

keep() {
  mkdir -p "$target"
  cat >"$target/$1"
  echo "$target/$1"
}

say() { echo "deep: $*" >&2; }

provide_nightly() {
  local name
  for name in "$nightly" nightly; do
    if [[ $name == "$nightly" ]]; then
      rustup toolchain list | grep -q "^$name" ||
        rustup toolchain install "$name" --profile minimal --component miri --component rust-src >&2 || continue
    fi
    [[ $(rustup run "$name" rustc --version 2>/dev/null) == "rustc $nightly_version" ]] && echo "$name" && return
  done
  say "neither $nightly nor a nightly toolchain of the same day can be had"
  return 1
}

provide_clang() {
  local name
  for name in clang clang-19; do command -v "$name" && return; done
  say 'installing clang from Debian'
  (apt-get update -qq && apt-get install -qq --no-install-recommends clang-19) >&2
  command -v clang-19
}

provide_cargo_fuzz() {
  local folder=$tools/cargo-fuzz-$cargo_fuzz_version
  [[ -x $folder/bin/cargo-fuzz ]] || cargo install --quiet --locked --root "$folder" "cargo-fuzz@$cargo_fuzz_version" >&2
  echo "$folder/bin/cargo-fuzz"
}

# Both lock files must name the same libraries, or something else is tested than what is shipped.
same_versions() {
  local name
  for name in crc-fast libsqlite3-sys lz4_flex parking_lot rusqlite tokio; do
    diff <(grep -A1 "^name = \"$name\"" "$root/Cargo.lock") <(grep -A1 "^name = \"$name\"" "$root/fuzz/Cargo.lock") >&2 ||
      { say "$name is another in fuzz/Cargo.lock: cargo update --manifest-path fuzz/Cargo.toml --package $name --precise VERSION" && return 1; }
  done
}

run() {
  local part=$1 log=$target/$1.log begun=$SECONDS
  mkdir -p "$target"
  # Not in a condition: bash would ignore `set -e` in there.
  set +e
  (set -e; "do_$part") >"$log" 2>&1
  local status=$?
  set -e
  sed -n 's/^.*verdict: /deep: /p' "$log"
  if ((status != 0)); then
    tail -n 60 "$log" >&2
    say "$part FAILED after $((SECONDS - begun)) s, exit status $status; all of it is in $log"
    return 1
  fi
  echo "deep: $part passed in $((SECONDS - begun)) s: $(grep -E '^(test result|stat::number_of_executed_units)' "$log" | tail -1)"
}

cd "$root/fuzz"
unset AWS_CA_BUNDLE
RUSTUP_TOOLCHAIN=$(provide_nightly)
export RUSTUP_TOOLCHAIN CARGO_TERM_COLOR=never CARGO_INCREMENTAL=0
host=$(rustc -vV | sed -n 's/^host: //p')
same_versions

case ${1:-all} in
  miri | schedules | random | asan | tsan | fuzz | ltx | messages | simulator | kills | history | flips | seed | schemathesis | e2e) run "$1" ;;
  all) for part in miri schedules random asan tsan fuzz ltx messages simulator kills history flips seed schemathesis e2e; do run "$part"; done ;;
  *) sed -n '2,/^set/{/^set/d;s/^# \{0,1\}//p}' "$root/testbench/deep.sh" >&2 && exit 2 ;;
esac
