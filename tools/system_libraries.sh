#!/bin/sh
# Install what heapwright would like from Debian or Ubuntu, where this user may; else say how.
# Nothing here is needed: without it the rows of the real allocators are left out.
missing=""
has_library() { ldconfig -p 2>/dev/null | grep -q "$1"; }
has_library libjemalloc.so.2 || missing="$missing libjemalloc2"
has_library libmimalloc.so.2 || missing="$missing libmimalloc2.0"
has_library libtcmalloc_minimal.so.4 || missing="$missing libtcmalloc-minimal4"
command -v cc >/dev/null 2>&1 || missing="$missing gcc libc6-dev"
command -v chromium >/dev/null 2>&1 || missing="$missing chromium"
for program in sqlite3 lua5.4 ruby valgrind heaptrack; do
    command -v $program >/dev/null 2>&1 || missing="$missing $program"
done
[ -z "$missing" ] && exit 0
if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; then
    echo "installing:$missing"
    apt-get update -qq >/dev/null 2>&1
    for package in $missing; do
        DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$package" \
            >/dev/null 2>&1 || echo "could not install $package: what needs it is skipped"
    done
else
    echo "not installed, and what needs it is skipped:$missing"
    echo "to get it: sudo apt-get install$missing"
fi
exit 0
