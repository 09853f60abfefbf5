#!/bin/sh
# Installs what `make` needs: uv into .tools, unless it is already installed; the environment .venv
# with the locked dependencies, each checked against its hash; the command `pandaprobe-server`.
# Everything stays in this folder. A second run does nothing until a lock file has changed.
#
# bootstrap.sh local: only what runs the server, until the environment has everything.
#
# It is next to `run` because a new machine starts with these two scripts.
set -eu
cd "$(dirname "$0")/.."

stamp=.venv/.installed
installed=$(cat "$stamp" 2>/dev/null || true)
# The sizes are those of the packages for Linux on x86-64.
if [ "${1:-}" = local ] && [ "${installed%% *}" != all ]; then
    what=local
    locks="requirements-extras.lock .ci/local.lock"
    size="up to 130 MB to download, 580 MB on disk"
else
    what=all
    locks=requirements-dev.lock
    size="up to 290 MB to download, 1.2 GB on disk"
fi
wanted="$what $(cat $locks pyproject.toml .ci/bootstrap.sh | cksum)"
if [ -x .venv/bin/pandaprobe-server ] && [ "$installed" = "$wanted" ]; then
    exit 0
fi

export PIP_ROOT_USER_ACTION=ignore  # nothing outside this folder is changed, as root or not

say() { echo "bootstrap: $*" >&2; }

# Debian and others package pip and venv separately from Python: either one suffices to fetch uv.
fetch_uv() {
    for python in python3 python3.15 python3.14 python3.13 python3.12 /usr/bin/python3 python; do
        "$python" -c 'import sys; sys.exit(sys.version_info < (3, 8))' 2>/dev/null || continue
        if "$python" -m pip --version >/dev/null 2>&1; then
            "$python" -m pip install --quiet --disable-pip-version-check --no-input \
                --require-hashes --upgrade --target .tools -r .ci/bootstrap.lock && return
        elif "$python" -m venv .tools/venv >/dev/null 2>&1; then
            .tools/venv/bin/python -m pip install --quiet --disable-pip-version-check --no-input \
                --require-hashes --upgrade --target .tools -r .ci/bootstrap.lock && return
        fi
    done
    say "neither uv nor a Python with pip was found."
    say "Install uv (https://docs.astral.sh/uv/), or Python 3.12, 3.13 or 3.14 with pip, and try again."
    exit 1
}

if command -v uv >/dev/null 2>&1; then
    uv=uv
else
    uv=.tools/bin/uv
    if ! "$uv" --version >/dev/null 2>&1; then
        say "downloading uv into .tools (20 MB)"
        fetch_uv
    fi
fi

# An installed Python is preferred to one that would have to be downloaded. Not all packages have
# files for 3.15 (pyproject.toml names those that have none).
if ! .venv/bin/python -c 'import sys; sys.exit(not (3, 12) <= sys.version_info < (3, 15))' 2>/dev/null; then
    say "making .venv"
    if ! "$uv" venv --quiet --clear --no-python-downloads --python '>=3.12,<3.15' .venv 2>/dev/null; then
        say "no Python 3.12, 3.13 or 3.14 is installed: downloading 3.14"
        "$uv" venv --quiet --clear --python 3.14 .venv || {
            say "Python 3.14 can't be downloaded: install it, or 3.12 or 3.13, and try again."
            exit 1
        }
    fi
fi

packages=$(cat $locks | grep -c '^[a-z].*==')
say "installing $packages packages into .venv: $size"
began=$(date +%s)
rm -f "$stamp"
# Compile bytecode now, because the service has to start within a second, and its folder may be
# read-only then. Nothing is built from source: that would take a compiler, libraries and build tools
# that aren't locked.
install() {
    "$uv" pip sync --quiet --compile-bytecode --no-build --python .venv/bin/python --require-hashes \
        $locks >"$log" 2>&1
}
# Runs `install` and counts the seconds on a terminal. It runs in the background, where a shell makes
# it ignore Ctrl-C, so we end it.
install_visibly() {
    install &
    job=$!
    trap 'kill "$job" 2>/dev/null; exit 130' INT TERM
    while [ -t 2 ] && kill -0 "$job" 2>/dev/null; do
        printf '\rbootstrap: %s s ' "$(($(date +%s) - began))" >&2
        sleep 1
    done
    [ ! -t 2 ] || printf '\r' >&2
    wait "$job"
}
log=.venv/.installing
# uv has its own certificates; behind a company's proxy only the machine's certificates are valid.
if ! install_visibly; then
    if grep -q certificate "$log"; then
        say "trying again with this machine's certificates"
        export UV_SYSTEM_CERTS=1 UV_NATIVE_TLS=1 # newer and older versions of uv
    fi
    install_visibly || {
        cat "$log" >&2
        ! grep -q 'no usable wheels' "$log" ||
            say "this kind of machine isn't supported: docs/development/platforms.md lists those that are."
        exit 1
    }
fi
rm -f "$log"
say "installed in $(($(date +%s) - began)) s"
# The build backend is locked too, so nothing is downloaded for this.
"$uv" pip install --quiet --python .venv/bin/python --no-deps --no-build-isolation --editable .
echo "$wanted" >"$stamp"
