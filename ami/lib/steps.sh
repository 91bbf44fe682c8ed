# shellcheck shell=bash
# Steps of `provision` that change something only if it is not so yet. Sourced, never run.

changes=0
# What was put in place, for the manifest.
baked=()

say() { printf '== %s\n' "$*"; }
die() { printf 'provision: %s\n' "$*" >&2; exit 1; }
changed() { changes=$((changes + 1)); printf '   changed: %s\n' "$*"; }
sha256() { sha256sum "$1" | cut -d' ' -f1; }

# Sets `family`, and fails where nobody has tried this.
distribution() {
    # shellcheck source=/dev/null
    . /etc/os-release
    case ${ID:-}:${VERSION_ID:-} in
    amzn:2023*) family=al2023 ;;
    debian:12 | debian:13 | ubuntu:22.04 | ubuntu:24.04) family=debian ;;
    *) die "${PRETTY_NAME:-this system} is not supported: Amazon Linux 2023, Debian 12 and 13, Ubuntu 22.04 and 24.04 are" ;;
    esac
    distribution_id=$ID distribution_version=$VERSION_ID
}

# A file as it should be: contents, mode, owner.
put() {
    local source=$1 target=$2 mode=$3
    baked+=("$target")
    if cmp -s "$source" "$target" && [[ $(stat -c '%a %u:%g' "$target") == "$mode 0:0" ]]; then
        return
    fi
    # Beside it and renamed, for a unit or a binary may be in use.
    install -D -m "$mode" -o root -g root "$source" "$target.new"
    mv -f "$target.new" "$target"
    changed "$target"
}

# Every file below a folder that mirrors the root.
put_tree() {
    local file
    while IFS= read -r file; do
        put "$1/$file" "/$file" 644
    done < <(cd "$1" && find . -type f -printf '%P\n' | LC_ALL=C sort)
}

unit_state() { systemctl is-enabled "$1" 2>/dev/null || true; }

enable() {
    local unit
    for unit in "$@"; do
        [[ $(unit_state "$unit") == enabled ]] && continue
        systemctl --quiet enable "$unit" && changed "$unit is enabled"
    done
}

# Units that are not there need no disabling.
disable() {
    local unit
    for unit in "$@"; do
        [[ $(unit_state "$unit") == enabled ]] || continue
        systemctl --quiet disable "$unit" && changed "$unit is disabled"
    done
}

mask() {
    local unit
    for unit in "$@"; do
        [[ $(readlink "/etc/systemd/system/$unit") == /dev/null ]] && continue
        systemctl --quiet mask "$unit" && changed "$unit is masked"
    done
}

# Forgets what belongs to this machine alone, so that no two instances share it.
seal_image() {
    : >/etc/machine-id
    rm -f /var/lib/dbus/machine-id /var/lib/systemd/random-seed /etc/ssh/ssh_host_* /root/.bash_history
    rm -rf /root/.ssh /home/*/.ssh /var/lib/cloud/instances /var/log/journal/* /var/cache/dnf /var/lib/apt/lists/*
    say "sealed: shut down now, and take the image"
}
