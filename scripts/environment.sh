# shellcheck shell=bash
# What the scripts for an environment share. Sourced after common.sh, never run.

environments="dev staging prod"
dry_run=no
# Answers are read by programs, or not at all.
export AWS_PAGER=''

# use_environment ENV: sets `environment` and the directory of its root.
use_environment() {
    [[ " $environments " == *" $1 "* ]] || usage_error "unknown environment: $1 ($environments)"
    # shellcheck disable=SC2034  # for those who source this file
    environment=$1
    # shellcheck disable=SC2154  # common.sh sets it
    root=$repo/terraform/environments/$1
}

# usage_error TEXT: what was asked for makes no sense; 2 as for the programs.
usage_error() {
    printf '%s: %s\n' "$(basename "$0")" "$1" >&2
    usage >&2
    exit 2
}

# run COMMAND…: shows a command that changes something, and runs it unless nothing is to be changed.
run() {
    if [[ $dry_run == yes ]]; then
        printf 'would run:'
    else
        printf '+'
    fi
    printf ' %q' "$@"
    printf '\n'
    [[ $dry_run == yes ]] || "$@"
}

# write_file FILE: its standard input, unless nothing is to be changed.
write_file() {
    if [[ $dry_run == yes ]]; then
        printf 'would write %s:\n' "${1#"$repo"/}"
        sed 's/^/    /'
    else
        cat >"$1"
        say "wrote ${1#"$repo"/}"
    fi
}

# output NAME: a value of the environment; empty when it is null or there is none.
output() {
    local value
    value=$(terraform -chdir="$root" output -json "$1" 2>/dev/null) || return 0
    python3 -c 'import json, sys; it = json.load(sys.stdin); print("" if it is None else it)' <<<"$value"
}

# setting NAME: a text of the environment's terraform.tfvars.
setting() {
    sed -n "s/^$1 *= *\"\(.*\)\"$/\1/p" "$root/terraform.tfvars"
}

# use_outputs: the variables by which `bailey` and `aws` use the environment.
use_outputs() {
    AWS_REGION=$(output region)
    [[ -n $AWS_REGION ]] || die "$environment has not been applied: run scripts/setup-environment $environment"
    AWS_DEFAULT_REGION=$AWS_REGION
    BAILEY_ENCLAVES_TABLE=$(output enclaves_table)
    BAILEY_LEDGER_TABLE=$(output ledger_table)
    BAILEY_HOSTS_TABLE=$(output hosts_table)
    BAILEY_REPORTS_BUCKET=$(output reports_bucket)
    export AWS_REGION AWS_DEFAULT_REGION BAILEY_ENCLAVES_TABLE BAILEY_LEDGER_TABLE BAILEY_HOSTS_TABLE BAILEY_REPORTS_BUCKET
}

need_aws() { need aws "install the AWS command line, https://aws.amazon.com/cli/"; }
need_terraform() { need terraform "install 1.11 or newer, https://developer.hashicorp.com/terraform"; }
