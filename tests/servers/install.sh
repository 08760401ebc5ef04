#!/bin/sh
# Install the servers that the tests start for themselves, those that are missing only.
# Needs apt-get and either root or `sudo -n`; says otherwise which tests will be left out. With CI=true that is an error.
set -u

PATH="$PATH:/usr/sbin:/sbin:/usr/local/sbin"

have() { command -v "$1" >/dev/null 2>&1; }
have_postgresql() { have initdb || ls /usr/lib/postgresql/*/bin/initdb >/dev/null 2>&1; }

have_libfaketime() { ls /usr/lib/*/faketime/libfaketime.so.1 /usr/lib/faketime/libfaketime.so.1 2>/dev/null | grep -q .; }

# Prints "<package>... " for what is missing, and nothing when all is there.
missing_packages() {
    have mosquitto || printf 'mosquitto '
    have mosquitto_pub || printf 'mosquitto-clients '
    have_postgresql || printf 'postgresql '
    have_libfaketime || printf 'libfaketime '
    { have mariadbd && have mariadb-install-db && have mariadb; } || printf 'mariadb-server '
    have pgbouncer || printf 'pgbouncer '
}

left_out() {
    for package in $(missing_packages); do
        case $package in
            mosquitto*) echo "  the tests marked mosquitto ($package is missing)" ;;
            postgresql) echo "  the tests marked postgres ($package is missing)" ;;
            libfaketime) echo "  the tests of clocks that jump ($package is missing)" ;;
            mariadb*) echo "  the tests marked mariadb ($package is missing)" ;;
            pgbouncer) echo "  the tests marked pgbouncer ($package is missing)" ;;
        esac
    done
}

# A policy of "no" keeps the packages from starting services; the configuration keeps PostgreSQL from making a cluster.
# Both are taken away again, and neither is touched where the machine has its own.
install_packages() {
    cat <<'SCRIPT' | $as_root sh -s -- "$@"
set -eu
policy=/usr/sbin/policy-rc.d
cluster=/etc/postgresql-common/createcluster.conf
clean_up() { for file in $made; do rm -f "$file"; done; }
made=
trap clean_up EXIT
trap 'exit 1' HUP INT TERM
if [ ! -e "$policy" ]; then
    made="$made $policy"
    printf '#!/bin/sh\nexit 101\n' >"$policy"
    chmod 755 "$policy"
fi
if [ ! -e "$cluster" ]; then
    made="$made $cluster"
    mkdir -p "${cluster%/*}"
    echo 'create_main_cluster = false' >"$cluster"
fi
export DEBIAN_FRONTEND=noninteractive
apt-get update -qq
apt-get install -y -qq --no-install-recommends "$@" </dev/null
SCRIPT
}

packages=$(missing_packages)
[ -z "$packages" ] && exit 0

if [ "$(id -u)" -eq 0 ]; then
    as_root=
elif have sudo && sudo -n true 2>/dev/null; then
    as_root='sudo -n'
else
    as_root=unavailable
fi

if have apt-get && [ "$as_root" != unavailable ]; then
    echo "Installing the servers that the tests need: $packages"
    log=$(mktemp)
    # shellcheck disable=SC2086  # several packages
    install_packages $packages >"$log" 2>&1 || { tail -n 20 "$log"; echo 'apt-get failed.'; }
    rm -f "$log"
fi

packages=$(missing_packages)
[ -z "$packages" ] && exit 0

echo 'These tests will be left out:'
left_out
echo "To run them: sudo apt-get install $packages(or your system's packages of these servers)."
[ "${CI:-}" != true ]
