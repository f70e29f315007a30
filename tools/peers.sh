#!/bin/sh
# The real peers that the tests start on free ports: DCMTK, Orthanc, Mosquitto, and dciodvfy of dicom3tools.
# Installs those that are missing when it may; no service is started, and none is left enabled.
set -u
PATH="$PATH:/usr/sbin:/sbin"
missing=""
have() { command -v "$1" >/dev/null 2>&1; }

look() {
    missing=""
    have storescp && have movescu && have dcmqrscp && have dcmsend || missing="$missing dcmtk"
    have Orthanc || missing="$missing orthanc"
    have mosquitto || missing="$missing mosquitto"
    have dciodvfy || missing="$missing dicom3tools"
}

install() {
    guard=""
    if [ ! -e /usr/sbin/policy-rc.d ]; then
        guard=/usr/sbin/policy-rc.d
        printf '#!/bin/sh\nexit 101\n' | $root tee "$guard" >/dev/null && $root chmod 755 "$guard"
    fi
    # shellcheck disable=SC2086
    set -- env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $missing
    $root "$@" >/dev/null 2>&1 || { $root apt-get update -qq && $root "$@" >/dev/null; }
    status=$?
    if have systemctl; then
        for package in $missing; do
            case $package in
                orthanc | mosquitto) $root systemctl disable --now "$package" >/dev/null 2>&1 ;;
            esac
        done
    fi
    [ -n "$guard" ] && $root rm -f "$guard"
    return $status
}

look
[ -z "$missing" ] && exit 0
root=none
if [ "$(id -u)" = 0 ]; then
    root=""
elif have sudo && sudo -n true 2>/dev/null; then
    root=sudo
fi
if [ "$root" != none ] && have apt-get; then
    echo "installing$missing"
    install
    look
fi
[ -z "$missing" ] && exit 0
echo "the tests need real peers that are not here; run: sudo apt-get install$missing" >&2
[ "${CI:-}" = true ] && exit 1
exit 0
