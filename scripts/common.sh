# shellcheck shell=bash
# What the scripts share: where things are. Sourced, never run.

repo=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)

# What is downloaded once. CI keeps these outside its clone.
export BAILEY_CACHE=${BAILEY_CACHE:-$repo/.cache}
export BAILEY_VENV=${BAILEY_VENV:-$repo/.venv}
# The Python environment of the checks of terraform/.
export BAILEY_INFRA_VENV=${BAILEY_INFRA_VENV:-$BAILEY_CACHE/infra-venv}
export BAILEY_KERNEL=${BAILEY_KERNEL:-$BAILEY_CACHE/kernel}
export BAILEY_TOOLS=${BAILEY_TOOLS:-$BAILEY_CACHE/tools}
# A distribution with systemd, in which the packaged units are tried; made by root only.
export BAILEY_SYSTEMD_ROOT=${BAILEY_SYSTEMD_ROOT:-$BAILEY_CACHE/systemd}
# The QEMU that boots images, built by scripts/setup-boot; the name says what is built and from what.
export BAILEY_QEMU=${BAILEY_QEMU:-$BAILEY_CACHE/boot/qemu-trixie-1}
export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$repo/target}

# shellcheck disable=SC2034  # these are for those who source this file
# Where the programs of a development build are, and the responder for images.
programs=$CARGO_TARGET_DIR/debug
# shellcheck disable=SC2034
static_target=x86_64-unknown-linux-gnu
# shellcheck disable=SC2034
keep=$CARGO_TARGET_DIR/$static_target/release/keep
# A static program for images of tests.
# shellcheck disable=SC2034
workload=$CARGO_TARGET_DIR/$static_target/release/test-workload
# The example of a service whose certificate is bound to its attestation.
# shellcheck disable=SC2034
attested_https=$CARGO_TARGET_DIR/$static_target/release/attested-https
# The image that the demo, `make dev` and the system tests deploy, and its manifest.
image=$CARGO_TARGET_DIR/images/test.eif
export BAILEY_TEST_EIF=$image

# Builds what goes into images: static, for there is no C library in one; with its own flags it gets its own target.
# Where the sources lie must not show in it, for an image is measured. All at once, so that what they share is built once.
build_static() {
    RUSTFLAGS="-C target-feature=+crt-static --remap-path-prefix=$repo=bailey \
--remap-path-prefix=${CARGO_HOME:-$HOME/.cargo}=cargo" \
        cargo build --locked --release --target "$static_target" \
        -p bailey-enclave-image --bin keep -p bailey-kms --bin keep-kms \
        -p bailey-test-workload --bin test-workload -p bailey-attested-https --bin attested-https
}

say() { printf '\033[1m%s\033[0m\n' "$*"; }
die() { printf '%s: %s\n' "$(basename "$0")" "$*" >&2; exit 1; }

# Fails with a hint when a program that everything needs is missing.
need() {
    command -v "$1" >/dev/null || die "$1 is missing: $2"
}

# What AWS's own library for images is built with; Bailey itself needs none of it.
need_openssl() {
    if ! pkg-config --exists openssl 2>/dev/null; then
        [[ $(id -u) == 0 ]] || die "install these first: libssl-dev pkg-config"
        apt-get update -qq
        apt-get install -y -qq --no-install-recommends libssl-dev pkg-config
    fi
}

# install_python VENV REQUIREMENTS WHAT: a Python environment with exactly that list; the marker names what is installed, so that
# another list is installed anew.
install_python() {
    local venv=$1 requirements=$2 wanted
    wanted=$(sha256sum "$requirements" | cut -d' ' -f1)
    [[ $(cat "$venv/.requirements" 2>/dev/null) != "$wanted" ]] || return 0
    say "installing what $3 of Python into $venv"
    mkdir -p "$(dirname "$venv")"
    python3 -m venv --clear "$venv"
    "$venv/bin/pip" install --quiet --disable-pip-version-check --require-hashes \
        --only-binary :all: -r "$requirements"
    printf '%s\n' "$wanted" >"$venv/.requirements"
}
