# shellcheck shell=bash
# Amazon Linux 2023: packages from repositories that are frozen by release.

services=(chronyd.service logrotate.timer)
updates_units=(dnf-automatic.timer)
nitro_cli_files=(/usr/bin/nitro-cli /usr/bin/nitro-enclaves-allocator)

packages() {
    [[ -z $nitro_cli ]] || die "--nitro-cli is for Debian and Ubuntu; here its package is installed"
    local missing=() unwanted=() package
    for package in "aws-nitro-enclaves-cli-$al2023_nitro_cli" chrony cloud-utils-growpart logrotate \
        dnf-automatic; do
        rpm -q --quiet "$package" || missing+=("$package")
    done
    if [[ $devel == yes ]] && ! rpm -q --quiet "aws-nitro-enclaves-cli-devel-$al2023_nitro_cli"; then
        missing+=("aws-nitro-enclaves-cli-devel-$al2023_nitro_cli")
    fi
    for package in ec2-instance-connect openssh-server; do
        ! rpm -q --quiet "$package" || unwanted+=("$package")
    done
    if [[ ${#missing[@]} -gt 0 ]]; then
        dnf --assumeyes --quiet --releasever="$al2023_release" --setopt=install_weak_deps=False \
            install "${missing[@]}"
        changed "installed ${missing[*]}"
    fi
    if [[ ${#unwanted[@]} -gt 0 ]]; then
        dnf --assumeyes --quiet remove "${unwanted[@]}"
        changed "removed ${unwanted[*]}"
    fi
}

install_nitro_cli() { [[ -x /usr/bin/nitro-cli ]] || die "the package has brought no nitro-cli"; }

boot_parameters() {
    grubby --info=ALL | grep -q "args=.*$kernel_arguments" && return
    grubby --update-kernel=ALL --args="$kernel_arguments"
    changed "kernel arguments: $kernel_arguments"
}

pinned_packages() {
    rpm -q --qf '%{NAME} %{VERSION}-%{RELEASE}\n' aws-nitro-enclaves-cli chrony logrotate
}

# Name, version and package URL of everything that is installed. A key that signs packages is none.
all_packages() {
    rpm -qa --qf '%{NAME} %{VERSION}-%{RELEASE} pkg:rpm/amzn/%{NAME}@%{VERSION}-%{RELEASE}?arch=%{ARCH}\n' |
        grep -v '^gpg-pubkey '
}
