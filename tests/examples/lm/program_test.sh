#!/bin/sh
# isthmus-lm alone: trains, saves, samples from what it saved, and says by its exit code what went
# wrong.
set -eu
lm=$1
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT

expect() {  # expect CODE COMMAND...
  wanted=$1
  shift
  code=0
  "$@" >"$dir/out" 2>"$dir/err" || code=$?
  if [ "$code" != "$wanted" ]; then
    echo "exit code $code, expected $wanted: $*"
    cat "$dir/err"
    exit 1
  fi
}

i=0
while [ $i -lt 200 ]; do
  echo "A small text, line $i: enough to read windows from."
  i=$((i + 1))
done >"$dir/text"

small="--width 16 --layers 1 --heads 2 --context 16 --batch 2"
expect 0 "$lm" --help
expect 2 "$lm" --no-such-flag
expect 2 "$lm" --local --text "$dir/text"           # without --steps
expect 2 "$lm" --local --steps 1 --text "$dir/missing"
expect 3 "$lm" --text "$dir/text" --socket "$dir/no-daemon"
# shellcheck disable=SC2086
expect 0 "$lm" --local --steps 8 $small --text "$dir/text" --save "$dir/model" \
  --report "$dir/report" --curve "$dir/curve" --sample 40
grep -q '"validation_loss": [0-9]' "$dir/report"
test "$(wc -l <"$dir/curve")" = 9
test -s "$dir/out"
mv "$dir/out" "$dir/sampled"
expect 0 "$lm" --load "$dir/model" --sample 40
cmp "$dir/out" "$dir/sampled"
expect 1 "$lm" --load "$dir/text" --sample 40

# Muon's learning rate is twice --lr unless told otherwise.
trained() {  # trained NAME FLAGS...
  name=$1
  shift
  # shellcheck disable=SC2086
  expect 0 "$lm" --local --steps 3 $small --text "$dir/text" --save "$dir/$name" \
    --own-optimizer muon --lr 0.01 "$@"
}
trained by-default
trained twice --muon-lr 0.02
trained thrice --muon-lr 0.03
cmp "$dir/by-default" "$dir/twice"
expect 1 cmp "$dir/by-default" "$dir/thrice"

# It waits for its daemon, says so, and obeys SIGTERM meanwhile: also as the first process of a
# container, which the kernel spares every signal that it does not ask for.
waits="--text $dir/text --socket $dir/no-daemon --attach-timeout 600"
stop() {  # stop PID, once it has said that it waits
  until grep -q "the daemon is not there" "$dir/err"; do sleep 0.1; done
  kill -TERM "$1"
}
# shellcheck disable=SC2086
"$lm" $waits 2>"$dir/err" &
stop $!
code=0
wait $! || code=$?
test "$code" = 143
if unshare --pid --fork true 2>"$dir/err"; then
  # shellcheck disable=SC2086
  unshare --pid --fork --kill-child "$lm" $waits 2>"$dir/err" &
  unshared=$!
  until grep -q "the daemon is not there" "$dir/err"; do sleep 0.1; done
  stop "$(cat "/proc/$unshared/task/$unshared/children")"
  code=0
  wait $unshared || code=$?
  test "$code" = 143
else
  echo "skipped: SIGTERM as process 1: $(cat "$dir/err")"
fi
test "$(find "$dir" -name '*.tmp' | wc -l)" = 0
