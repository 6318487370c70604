# shellcheck shell=bash
# Debian packages, for scripts that source lib/venv.sh and this file.

# install_packages NAME...: installs by apt-get, without a question. Fails where that is not
# possible: no apt-get, or neither root nor sudo without a password. A service that a package
# starts by itself is stopped, and does not come back at the next boot.
install_packages() {
    local package as_root=() new=()
    if [ "$(id -u)" -ne 0 ]; then as_root=(sudo -n); fi
    if ! command -v apt-get >/dev/null || ! "${as_root[@]}" true 2>/dev/null; then return 1; fi
    # One that is there already is somebody's, and so is its service.
    for package; do
        dpkg -s "$package" >/dev/null 2>&1 || new+=("$package")
    done
    if [ "${#new[@]}" -eq 0 ]; then return 0; fi

    say "Installing ${new[*]}..."
    { "${as_root[@]}" apt-get update -qq &&
        "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq "${new[@]}"; } \
        >/dev/null 2>&1 </dev/null || return 1
    for package in "${new[@]}"; do
        "${as_root[@]}" systemctl disable --now "$package" >/dev/null 2>&1 ||
            "${as_root[@]}" service "$package" stop >/dev/null 2>&1 || true
    done
}
