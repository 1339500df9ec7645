#!/usr/bin/env bash
# Makes the virtual environment with one of the two stacks. `make setup` calls it.
#
#   VENV         folder of the environment; .venv
#   TENSORFLOW   2.15 or latest forces a stack; empty: by the Python that is found
#   BASE_PYTHON  the Python to make it with; empty: the first that fits
#
# 2.15:   TensorFlow 2.15 and tensorflow-addons, with Python 3.9, 3.10 or 3.11
# latest: the newest TensorFlow and its tf-keras, with Python 3.12, 3.13 or 3.11
#
# Where no Python fits, uv gets one: the uv at hand, or one from PyPI in $VENV-uv.
set -euo pipefail
cd "$(dirname "$0")/.."

venv="${VENV:-.venv}"
wanted="${TENSORFLOW:-}"
base="${BASE_PYTHON:-}"
stamp="$venv/.installed"
for_2_15=(python3.11 python3.10 python3.9)
for_latest=(python3.12 python3.13)

fail() {
  echo "error: $1" >&2
  exit 1
}

no_python() {
  fail "MGNM-TF needs Python 3.9 to 3.13 (with venv)$1; install one, or install uv, and run make again."
}

case "$wanted" in
  "" | 2.15 | latest) ;;
  *) fail "TENSORFLOW must be 2.15 or latest. Received: TENSORFLOW=$wanted" ;;
esac

install() {
  rm -f "$stamp"
  MGNM_TENSORFLOW="$1" "$venv/bin/python" -m pip install \
    --quiet --disable-pip-version-check --no-compile -e '.[test,check]' ||
    fail "the packages of TensorFlow $1 could not be installed into $venv: see pip's message above, and run make again."
  # pip would compile on one core. Some packages hold files that are no Python 3, which
  # is no failure. Their tests are compiled if somebody runs them.
  "$venv/bin/python" -m compileall -qq -j 0 -x '/tests?/' "$venv"/lib/python*/site-packages || :
  echo "$1" >"$stamp"
}

# The stamp names the stack, and is newer than setup.py once that is installed.
if [ -e "$stamp" ]; then
  installed="$(cat "$stamp")"
  installed="${installed:-2.15}" # Stamps of old were empty.
  if [ "${wanted:-$installed}" = "$installed" ]; then
    if [ setup.py -nt "$stamp" ]; then
      echo "Updating $venv with TensorFlow $installed: setup.py has changed."
      install "$installed"
    fi
    exit 0
  fi
  echo "$venv holds TensorFlow $installed and is made anew."
elif [ -e "$venv" ] && [ ! -e "$venv/pyvenv.cfg" ] &&
  { [ ! -d "$venv" ] || [ -n "$(ls -A "$venv")" ]; }; then
  fail "VENV=$venv is there and is no virtual environment: choose another VENV."
fi

# Prints the first of the named Pythons that runs, can make environments and is between
# two versions, e.g. `first_python "(3, 9)" "(3, 11)" python3.11 python3`.
first_python() {
  local from="$1" to="$2" name
  shift 2
  for name in "$@"; do
    if "$name" -c "import sys, venv, ensurepip; sys.exit(not $from <= sys.version_info[:2] <= $to)" >/dev/null 2>&1; then
      echo "$name"
      return
    fi
  done
}

any=(python3 python)
python="" stack="" why=""
if [ -n "$base" ]; then
  for_2_15=("$base") for_latest=("$base") any=()
fi
if [ "$wanted" != latest ]; then
  stack=2.15
  python="$(first_python "(3, 9)" "(3, 11)" "${for_2_15[@]}" ${any[@]+"${any[@]}"})"
  why="the default where Python 3.9 to 3.11 is found"
fi
if [ -z "$python" ] && [ "$wanted" != 2.15 ]; then
  found="$(first_python "(3, 12)" "(3, 13)" "${for_latest[@]}" ${any[@]+"${any[@]}"})"
  if [ -z "$found" ] && [ "$wanted" = latest ]; then
    found="$(first_python "(3, 11)" "(3, 11)" "${for_2_15[@]}" ${any[@]+"${any[@]}"})"
  fi
  if [ -n "$found" ]; then
    stack=latest python="$found"
    why="Python 3.9 to 3.11, which TensorFlow 2.15 needs, is not found"
  fi
fi
[ -n "$wanted" ] && why="TENSORFLOW=$wanted" && stack="$wanted"
if [ -z "$python" ] && [ -n "$base" ]; then
  no_python ", and BASE_PYTHON=$base does not fit${wanted:+ TENSORFLOW=$wanted}"
fi

say() {
  echo "Setting up $venv with $1 and TensorFlow $stack: $why."
  echo "This installs 2.4 GB of packages and takes some minutes."
}

# Prints the path of a uv: the one at hand, else one from PyPI with whatever Python 3
# there is, in an environment of its own.
private_uv() {
  if command -v uv; then
    return
  fi
  local name
  for name in python3 python python3.14 python3.13 python3.12 python3.8; do
    if "$name" -c "import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 8))" >/dev/null 2>&1; then
      "$name" -m venv --clear "$venv-uv" &&
        "$venv-uv/bin/python" -m pip install --quiet --disable-pip-version-check uv >&2 &&
        echo "$venv-uv/bin/uv"
      return
    fi
  done
  return 1
}

rm -f "$stamp"
if [ -n "$python" ]; then
  say "$("$python" --version)"
  "$python" -m venv --clear "$venv"
else
  version=3.11
  if [ "$stack" = latest ]; then version=3.12; fi
  stack="${stack:-2.15}"
  echo "No Python here fits: uv is asked for Python $version."
  uv="$(private_uv)" || no_python ", and uv cannot be had from PyPI"
  # UV_PYTHON_INSTALL_MIRROR, where set, is where uv downloads from.
  "$uv" venv --quiet --clear --seed --python "$version" "$venv" ||
    no_python ", and uv cannot get Python $version"
  why="${wanted:+TENSORFLOW=$wanted}"
  why="${why:-Python $version came by uv}"
  say "$("$venv/bin/python" --version)"
fi

install "$stack"
