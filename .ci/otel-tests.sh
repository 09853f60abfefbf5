#!/bin/sh
# Installs the instrumentations that tests run into .venv-otel: Python packages from
# requirements-otel-tests.lock, and, if npm is installed, JavaScript packages into .venv-otel/js.
# If a part can't be installed, it says so and succeeds: the tests that need the part are skipped.
set -eu
cd "$(dirname "$0")/.."

folder=.venv-otel
js=tests/support/otel_js
stamp=$folder/.installed
wanted=$({ cat requirements-otel-tests.lock $js/package-lock.json .ci/otel-tests.sh
    command -v npm || :; } | cksum)
[ "$(cat $stamp 2>/dev/null)" = "$wanted" ] && exit 0

say() { echo "otel-tests: $*" >&2; }
command -v uv >/dev/null 2>&1 && uv=uv || uv=.tools/bin/uv

rm -f $stamp
if ! {
    "$uv" venv --quiet --clear --no-python-downloads --python .venv/bin/python $folder &&
        "$uv" pip sync --quiet --compile-bytecode --python $folder/bin/python --require-hashes \
            requirements-otel-tests.lock
}; then
    rm -rf $folder
    say "the Python packages can't be installed: tests of live instrumentations are skipped"
    exit 0
fi
if ! command -v npm >/dev/null 2>&1; then
    say "npm isn't installed: tests of JavaScript exporters are skipped"
elif ! { mkdir -p $folder/js && cp $js/package.json $js/package-lock.json $folder/js &&
    npm ci --prefix $folder/js --no-audit --no-fund --ignore-scripts --loglevel=error >&2; }; then
    rm -rf $folder/js
    say "the npm packages can't be installed: tests of JavaScript exporters are skipped"
    exit 0 # the next run tries again
fi
echo "$wanted" >$stamp
