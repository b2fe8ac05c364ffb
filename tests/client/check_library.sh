#!/bin/sh
# check_library.sh LIBRARY HEADER: libisthmus.so needs libc alone and shows only what isthmus.h declares.
set -eu
library=$1
header=$2

# The dynamic loader is part of libc (thread-local storage on some machines).
others=$(readelf -d "$library" | sed -n 's/.*(NEEDED).*\[\(.*\)\].*/\1/p' |
  grep -v -e '^libc\.' -e '^ld-linux' -e '^ld-musl' -e '^ld64\.' || true)
if [ -n "$others" ]; then
  echo "expected libc alone, $library also needs: $others"
  exit 1
fi

# Every symbol from outside is libc's, or an optional one that compilers add.
foreign=$(nm -D --undefined-only "$library" | grep -v -e '@GLIBC_' -e '^ *w ' || true)
if [ -n "$foreign" ]; then
  echo "symbols that libc does not have: $foreign"
  exit 1
fi

exported=$(nm -D --defined-only "$library" | awk '{print $3}')
strays=$(echo "$exported" | grep -v '^isthmus_' || true)
if [ -n "$strays" ]; then
  echo "expected isthmus_* only, exported too: $strays"
  exit 1
fi

# And all that the header declares.
declared=$(sed -n 's/^ISTHMUS_API .*[ *]\(isthmus_[a-z_]*\)(.*/\1/p' "$header" | sort)
[ "$(echo "$exported" | sort)" = "$declared" ] || {
  echo "declared and exported differ:"
  echo "$declared"
  echo "--"
  echo "$exported"
  exit 1
}
echo "$library: libc alone, $(echo "$declared" | wc -l) symbols"
