# shellcheck shell=bash
# Debian and Ubuntu: nitro-cli is no package there, it is brought along.

services=(chrony.service logrotate.timer systemd-networkd.service systemd-resolved.service)
updates_units=(unattended-upgrades.service apt-daily.timer apt-daily-upgrade.timer)
nitro_cli_files=()
wanted=(ca-certificates chrony cloud-guest-utils logrotate systemd-resolved unattended-upgrades)

is_installed() {
    [[ $(dpkg-query -W -f='${db:Status-Status}' "$1" 2>/dev/null) == installed ]]
}

packages() {
    [[ $devel == no ]] || die "--devel is for Amazon Linux, which has a package for it"
    local missing=() unwanted=() package
    for package in "${wanted[@]}"; do
        # Ubuntu 22.04 has it in another package, installed always.
        [[ $package == systemd-resolved && -x /lib/systemd/systemd-resolved ]] && continue
        is_installed "$package" || missing+=("$package")
    done
    for package in ec2-instance-connect openssh-server; do
        ! is_installed "$package" || unwanted+=("$package")
    done
    export DEBIAN_FRONTEND=noninteractive
    if [[ ${#missing[@]} -gt 0 ]]; then
        apt-get -qq update
        apt-get -qq -y --no-install-recommends install "${missing[@]}"
        changed "installed ${missing[*]}"
    fi
    if [[ ${#unwanted[@]} -gt 0 ]]; then
        apt-get -qq -y purge "${unwanted[@]}"
        changed "removed ${unwanted[*]}"
    fi
}

install_nitro_cli() {
    [[ -n $nitro_cli ]] || die "this distribution has no package of nitro-cli: build $debian_nitro_cli as ami/README.md says, and name its folder with --nitro-cli"
    local name
    for name in nitro-cli nitro-enclaves-allocator nitro-enclaves-allocator.service; do
        grep -q " [ *]*$name\$" "$nitro_cli/SHA256SUMS" || die "$nitro_cli/SHA256SUMS does not name $name"
    done
    (cd "$nitro_cli" && sha256sum --check --strict --quiet SHA256SUMS) || die "$nitro_cli is not what its SHA256SUMS says"
    put "$nitro_cli/nitro-cli" /usr/bin/nitro-cli 755
    put "$nitro_cli/nitro-enclaves-allocator" /usr/bin/nitro-enclaves-allocator 755
    put "$nitro_cli/nitro-enclaves-allocator.service" \
        /usr/lib/systemd/system/nitro-enclaves-allocator.service 644
    # The allocator starts with the system, and fails without a file; the agent writes it anew.
    if [[ ! -f /etc/nitro_enclaves/allocator.yaml ]]; then
        mkdir -p /etc/nitro_enclaves
        printf -- '---\nmemory_mib: 512\ncpu_count: 2\n' >/etc/nitro_enclaves/allocator.yaml
        changed /etc/nitro_enclaves/allocator.yaml
    fi
}

# The file for grub is in place already; its menu has to be written again when it lacks the arguments.
boot_parameters() {
    if [[ ! -d /boot/grub ]]; then
        say "NO BOOT LOADER HERE: the kernel's arguments ($kernel_arguments) were not set"
        return
    fi
    grep -qs "$kernel_arguments" /boot/grub/grub.cfg && return
    update-grub
    changed "kernel arguments: $kernel_arguments"
}

pinned_packages() {
    # shellcheck disable=SC2016  # these are dpkg-query's own
    dpkg-query -W -f='${Package} ${Version}\n' chrony logrotate unattended-upgrades
}

all_packages() {
    # shellcheck disable=SC2016
    dpkg-query -W -f='${db:Status-Status} ${Package} ${Version} ${Architecture}\n' |
        awk -v id="$distribution_id" '$1 == "installed" { print $2, $3, "pkg:deb/" id "/" $2 "@" $3 "?arch=" $4 }'
}
