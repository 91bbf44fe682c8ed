# shellcheck shell=bash
# What the image says of itself: a manifest whose SHA-256 is the image's identity, and a bill of materials.
# Neither holds a time, so that the same image has the same identity.

manifest=/usr/share/bailey/manifest.json
sbom=/usr/share/bailey/sbom.cdx.json

# A line of text as JSON.
json() {
    local text=${1//\\/\\\\}
    printf '"%s"' "${text//\"/\\\"}"
}

# The text $2 as the file $1.
keep() {
    local new
    new=$(mktemp)
    printf '%s\n' "$2" >"$new"
    put "$new" "$1" 644
    rm -f "$new"
}

agent_version() { /usr/bin/bailey-agent --version | cut -d' ' -f2; }

write_sbom() {
    local text
    text=$(sbom_text)
    keep "$sbom" "$text"
}

write_manifest() {
    local text
    text=$(manifest_text)
    keep "$manifest" "$text"
}

# CycloneDX 1.5: every package that is installed. The crates of the agent are in a file of their own.
sbom_text() {
    local version packages comma='' name found purl
    version=$(agent_version)
    packages=$(all_packages | LC_ALL=C sort)
    printf '{\n"bomFormat": "CycloneDX", "specVersion": "1.5", "version": 1,\n'
    printf '"metadata": {"component": {"type": "operating-system", "name": "bailey-parent", "version": %s}},\n' \
        "$(json "$version")"
    printf '"components": ['
    while read -r name found purl; do
        printf '%s\n{"type": "library", "name": %s, "version": %s, "purl": %s}' \
            "$comma" "$(json "$name")" "$(json "$found")" "$(json "$purl")"
        comma=,
    done <<<"$packages"
    printf '\n]\n}'
}

# What the image was made of on purpose: options, pinned packages, and every file that was put in place.
manifest_text() {
    local version packages files comma='' release='' name found file
    version=$(agent_version)
    packages=$(pinned_packages)
    files=$(printf '%s\n' "${baked[@]}" "${nitro_cli_files[@]}" | grep . | LC_ALL=C sort -u)
    [[ $family != al2023 ]] || release=$al2023_release
    printf '{\n"schema": 1,\n"name": "bailey-parent",\n"version": %s,\n' "$(json "$version")"
    printf '"distribution": {"id": %s, "version": %s, "release": %s, "architecture": %s},\n' \
        "$(json "$distribution_id")" "$(json "$distribution_version")" "$(json "$release")" \
        "$(json "$(uname -m)")"
    printf '"options": {"ssm": "%s", "updates": "%s", "devel": "%s", "kernel_arguments": %s},\n' \
        "$ssm" "$updates" "$devel" "$(json "$kernel_arguments")"
    printf '"packages": {'
    while read -r name found; do
        printf '%s\n%s: %s' "$comma" "$(json "$name")" "$(json "$found")"
        comma=,
    done <<<"$packages"
    printf '\n},\n"files": ['
    comma=''
    while IFS= read -r file; do
        printf '%s\n{"path": %s, "sha256": "%s"}' "$comma" "$(json "$file")" "$(sha256 "$file")"
        comma=,
    done <<<"$files"
    printf '\n]\n}'
}
