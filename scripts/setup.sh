#!/usr/bin/env bash
# Installs what the build needs and, with the argument `test`, what the tests need as well. Says what it does; does
# nothing the second time. With root (or sudo without a password) it uses Debian's packages; without, it unpacks what
# can be unpacked into .cache/ and names in plain words what is missing.
#
#   scripts/setup.sh         build: compiler, cmake, flite, the Python environment, the speech model
#   scripts/setup.sh test    the above, and sipp, baresip, openssl and cargo-deny
#   scripts/setup.sh interop the above, and the peers of `make interop`
set -euo pipefail
cd "$(dirname "$0")/.."

group="${1:-build}"
case "$group" in build | test | interop) ;; *) echo "usage: scripts/setup.sh [build|test|interop]" >&2; exit 2 ;; esac
testing() { [ "$group" != build ]; }

cargo_deny_version=0.20.2
mkdir -p .cache
say() { echo "setup: $*"; }

# --- quick way out -------------------------------------------------------------------------------------------------
# The stamp holds a hash of everything that decides what is installed. It is believed only while the tools answer: the
# folder may have been carried to another machine.
# A machine that could not get the model the last time is asked again only when something here changes.
stamp=".cache/setup-$group.stamp"
wanted="$( (cat scripts/setup.sh scripts/requirements.txt scripts/pipecat-requirements.txt; cat scripts/fetch-model.sh 2>/dev/null || true) | sha256sum | cut -d" " -f1)"

have() { command -v "$1" >/dev/null 2>&1; }
have_cmake() { have cmake || [ -x .cache/venv/bin/cmake ]; }
have_flite() { [ -e /usr/include/flite/flite.h ] || [ -e .cache/flite/usr/include/flite/flite.h ]; }
have_venv() { .cache/venv/bin/python3 -c 'import aiosmtpd, openai, pesq, importlib.util as u; assert u.find_spec("google.genai")' >/dev/null 2>&1; }
have_python_headers() { python3 -c 'import os, sysconfig; os.stat(sysconfig.get_path("include") + "/Python.h")' >/dev/null 2>&1; }
have_pipecat() { .cache/venv-pipecat/bin/python3 -c 'import pipecat, twilio, uvicorn' >/dev/null 2>&1; }
have_compiler() { have cc && have c++ && have make; }
peers=(kamailio kamcmd rtpengine linphonec svmap tshark fail2ban-regex dnsmasq tc unshare)
have_peers() { for peer in "${peers[@]}"; do have "$peer" || return 1; done; }
have_deny() { [ -x .cache/tools/bin/cargo-deny ] || have cargo-deny; }

complete() {
  have_compiler && have_cmake && have_flite && have_venv || return 1
  if testing; then have sipp && have baresip && have openssl && have_deny || return 1; fi
  if [ "$group" = interop ]; then have_peers && have_pipecat || return 1; fi
}

if [ -e "$stamp" ] && [ "$(cat "$stamp")" = "$wanted" ] && complete; then
  say "everything for '$group' is there"
  exit 0
fi

if ! have cargo; then
  echo "setup: Rust is missing. Install it with rustup (1.95 or newer), then run this again." >&2
  exit 1
fi

# --- Debian packages -----------------------------------------------------------------------------------------------
as_root=""
if [ "$(id -u)" = 0 ]; then
  as_root=root
elif have sudo && sudo -n true 2>/dev/null; then
  as_root=sudo
fi
rootly() { if [ "$as_root" = sudo ]; then sudo -n "$@"; else "$@"; fi; }

packages=()
want() { packages+=("$@"); }
have_compiler || want gcc g++ make
have pkg-config || want pkg-config
have cmake || want cmake
[ -e /usr/include/flite/flite.h ] || want flite1-dev
have python3 || want python3
python3 -c 'import ensurepip, venv' >/dev/null 2>&1 || want python3-venv
have_venv || have_python_headers || want python3-dev
have curl || want curl ca-certificates
if testing; then
  have sipp || want sip-tester
  have baresip || want baresip-core
  have openssl || want openssl
fi
if [ "$group" = interop ] && ! have_peers; then
  want kamailio kamailio-tls-modules rtpengine-daemon linphone-cli sipvicious tshark fail2ban dnsmasq-base iproute2 util-linux
fi

if [ "${#packages[@]}" -gt 0 ] && [ -n "$as_root" ] && have apt-get; then
  say "installing Debian packages: ${packages[*]}"
  rootly apt-get update -q >.cache/apt.log 2>&1 || { tail -n 20 .cache/apt.log >&2; exit 1; }
  rootly env DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends "${packages[@]}" \
    >>.cache/apt.log 2>&1 || { tail -n 20 .cache/apt.log >&2; exit 1; }
fi

if ! have_flite && have apt-get; then
  say "no root: unpacking flite1-dev into .cache/flite"
  mkdir -p .cache/flite
  (cd .cache/flite && apt-get download -q flite1-dev libflite1 >../apt.log 2>&1 && for deb in ./*.deb; do dpkg -x "$deb" .; done) ||
    say "flite1-dev could not be fetched (see .cache/apt.log)"
fi

# --- Python environment (the mail server and the speech score of the tests; cmake where Debian's may not be installed)
# The speech score is compiled here, from C: no package of it is ready-made.
if ! have_venv; then
  if ! .cache/venv/bin/python3 -m pip --version >/dev/null 2>&1; then
    say "making the Python environment .cache/venv"
    rm -rf .cache/venv
    python3 -m venv .cache/venv
  fi
  say "filling the Python environment"
  .cache/venv/bin/python3 -m pip install --quiet --disable-pip-version-check -r scripts/requirements.txt ||
    say "the Python packages of the tests could not be installed"
fi
if ! have_cmake; then
  say "no root: taking cmake from its Python package"
  .cache/venv/bin/pip install --quiet --disable-pip-version-check 'cmake==4.4.4'
fi

# --- pipecat, whose packages want an environment of their own
if [ "$group" = interop ] && ! have_pipecat; then
  say "making the Python environment .cache/venv-pipecat"
  rm -rf .cache/venv-pipecat
  python3 -m venv .cache/venv-pipecat
  .cache/venv-pipecat/bin/python3 -m pip install --quiet --disable-pip-version-check -r scripts/pipecat-requirements.txt ||
    say "pipecat could not be installed"
fi

# --- the dependency check of the gate ------------------------------------------------------------------------------
if testing && ! have_deny; then
  say "building cargo-deny $cargo_deny_version (about three minutes on two cores)"
  cargo install --quiet --locked --root .cache/tools --version "$cargo_deny_version" cargo-deny
fi

# --- speech model --------------------------------------------------------------------------------------------------
if [ -x scripts/fetch-model.sh ]; then
  scripts/fetch-model.sh --optional .cache/model
fi

# --- what is still missing -----------------------------------------------------------------------------------------
missing=()
have_compiler || missing+=("a C and C++ compiler with make (Debian: gcc g++ make)")
have_cmake || missing+=("cmake")
have_flite || missing+=("flite with its headers (Debian: flite1-dev)")
have_venv || missing+=("Python with venv, its headers and the packages of scripts/requirements.txt (Debian: python3-venv python3-dev)")
if [ "$group" = interop ]; then
  have_pipecat || missing+=("pipecat (scripts/pipecat-requirements.txt)")
  for peer in "${peers[@]}"; do have "$peer" || missing+=("$peer, a peer of make interop (see scripts/setup.sh for Debian's package)"); done
fi
if testing; then
  have sipp || missing+=("sipp, the SIP load generator (Debian: sip-tester)")
  have baresip || missing+=("baresip, the softphone (Debian: baresip-core)")
  have openssl || missing+=("openssl, whose s_client speaks TLS to the box (Debian: openssl)")
  have_deny || missing+=("cargo-deny")
fi
if [ "${#missing[@]}" -gt 0 ]; then
  for thing in "${missing[@]}"; do echo "setup: missing: $thing" >&2; done
  echo "setup: install the above as root, then run this again" >&2
  exit 1
fi

echo "$wanted" >"$stamp"
say "everything for '$group' is there"
