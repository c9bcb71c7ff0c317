#!/usr/bin/env bash
# Try this working tree in a bare Debian or Ubuntu that has python3 and make and nothing else.
#
#   scripts/check_bare.sh [COMMAND...]    (as root; default: play a game, run the tests)
#
# The bare system is of the host's own release and takes from the host only how to reach packages:
# apt's sources, proxies, certificates, pip's configuration. It runs in a mount and process namespace
# of its own, so that nothing stays mounted or running, however this ends.
#
#   BARE_ROOT=DIR   keep the bare system in DIR for the next time; what runs is a copy, DIR stays bare
#   BARE_KEEP=1     leave the used copy behind and say where it is
#   BARE_USER=NAME  run the commands as a user of this name, without sudo, after root has installed a browser
#
# shellcheck disable=SC1091,SC2016  # what is not expanded here is expanded by apt-get or inside
set -euo pipefail

user=${BARE_USER:-}
home=${user:+/home/$user}
home=${home:-/root}
if [ $# -gt 0 ]; then
    commands=("$@")
elif [ -n "$user" ]; then
    commands=('make play ARGS="--games 1 --max-score 200"' 'python3 run_dino.py doctor')
else
    commands=('make play ARGS="--games 1 --max-score 200"' 'make test')
fi

fail() {
    echo "check-bare: $1" >&2
    exit 2
}

[ "$(id -u)" -eq 0 ] || fail "needs root, for debootstrap and chroot: sudo make check-bare"
for tool in debootstrap git unshare chroot; do
    command -v "$tool" >/dev/null || fail "needs $tool: apt-get install -y debootstrap git util-linux"
done
unshare --mount --pid --fork true 2>/dev/null || fail "may not make mount namespaces here"

cd "$(dirname "${BASH_SOURCE[0]}")/.."
scratch=$(mktemp -d)
base=${BARE_ROOT:-$scratch/base}
root=$scratch/root
checkout="$home/dino rl ü"  # a space and a letter beyond ASCII must do no harm

clean_up() {
    if [ "${BARE_KEEP:-}" = 1 ]; then
        echo "check-bare: kept $root"
    else
        # Mounts of the namespace are invisible here, so this reaches nothing of the host. The second
        # try is for what was still being written when the namespace was killed.
        rm -rf --one-file-system "$scratch" || { sleep 2 && rm -rf --one-file-system "$scratch"; }
    fi
}

stop() {
    # unshare ignores gentler signals, and takes all that runs inside with it.
    [ -z "$inside" ] || kill -KILL "$inside" 2>/dev/null || true
    exit 130
}

inside=
trap clean_up EXIT
trap stop INT TERM HUP

bootstrap() {
    local release mirror new=$scratch/bootstrap
    release=$(. /etc/os-release && echo "${VERSION_CODENAME:-sid}")
    # What the host's apt would ask for this release; updates come later, from the copied sources.
    mirror=$(apt-get indextargets --format '$(REPO_URI) $(RELEASE)' 'Created-By: Packages' |
        awk -v release="$release" '$2 == release { print $1; exit }')
    [ -n "$mirror" ] || fail "found no apt source for $release in apt's configuration"
    echo "check-bare: debootstrap of $release"
    debootstrap --variant=minbase --include=python3,make "$release" "$new" "$mirror" \
        >"$scratch/debootstrap.log" 2>&1 ||
        { tail -n 5 "$scratch/debootstrap.log" >&2 && fail "debootstrap failed"; }
    rm -rf "$new"/var/cache/apt/archives/*.deb "$new"/var/lib/apt/lists/*
    touch "$new/.bare-root"
    mkdir -p "$(dirname "$base")"
    rmdir "$base" 2>/dev/null || true
    mv "$new" "$base"
}

# Copy paths of the host to the same place in the bare root, where they exist.
copy_from_host() {
    local path
    for path in "$@"; do
        if [ -e "$path" ]; then
            mkdir -p "$root$(dirname "$path")"
            rm -rf "${root:?}$path"
            cp -RL "$path" "$root$path"
        fi
    done
}

copy_network_configuration() {
    rm -f "$root/etc/apt/sources.list"
    copy_from_host /etc/apt/sources.list /etc/apt/sources.list.d /etc/apt/auth.conf.d \
        /etc/apt/preferences.d /etc/apt/trusted.gpg.d /etc/apt/keyrings /usr/share/keyrings \
        /etc/resolv.conf /etc/hosts /etc/ssl/certs /usr/local/share/ca-certificates \
        /etc/pip.conf /etc/xdg/pip "$HOME/.config/pip" "$HOME/.pip"
    if [ -n "$user" ] && [ -e "$HOME/.config/pip" ]; then
        mkdir -p "$root$home/.config"
        cp -RL "$HOME/.config/pip" "$root$home/.config/pip"
    fi
    # Only how to fetch: apt's hooks call programs that a bare system does not have.
    apt-config dump | grep -E '^Acquire::(https?|ftp|Check-|Retries|ForceIPv|Allow|Max-)' \
        >"$root/etc/apt/apt.conf.d/00host" || true
}

# Directories that pip's configuration names, as package indexes or places of wheels.
pip_directories() {
    {
        python3 -m pip config list 2>/dev/null || true
        env | grep '^PIP_' || true
    } | grep -oE "(file://)?/[^ ',]+" | sed 's|^file://||' | sort -u | while read -r path; do
        # The pages of an index link to files beside it.
        [ "$(basename "$path")" != simple ] || path=$(dirname "$path")
        [ ! -d "$path" ] || echo "$path"
    done
}

copy_working_tree() {
    mkdir -p "$root$checkout"
    git ls-files -coz --exclude-standard | while IFS= read -r -d '' path; do
        [ ! -e "$path" ] || printf '%s\0' "$path"
    done | tar -cf - --null -T - | tar -xf - -C "$root$checkout"
}

# Become a shell that runs one command in the bare root, as the first login of root or a user would see it.
enter_bare_root() {
    local as=${2:-} environment=(HOME=/root LANG=C.UTF-8 PATH=/usr/sbin:/usr/bin:/sbin:/bin) name
    [ -z "$as" ] || environment[0]=HOME=$home
    for name in $(compgen -e); do
        case $name in
            *_proxy | *_PROXY | PIP_* | SSL_CERT_* | REQUESTS_CA_BUNDLE | CURL_CA_BUNDLE)
                environment+=("$name=${!name}")
                ;;
        esac
    done
    exec unshare --mount --pid --fork --kill-child --propagation private bash -euc '
        root=$1 checkout=$2 command=$3 user=$4
        shift 4
        while [ "$1" != -- ]; do
            mkdir -p "$root$1"
            mount --bind "$1" "$root$1"
            mount -o remount,bind,ro "$root$1"
            shift
        done
        shift
        mount -t proc proc "$root/proc"
        mount --rbind /sys "$root/sys"
        mount --rbind /dev "$root/dev"
        mount -t tmpfs tmpfs "$root/dev/shm"
        exec chroot ${user:+--userspec=$user:$user} "$root" env -i "$@" sh -c "cd \"$checkout\" && $command"
    ' - "$root" "$checkout" "$1" "$as" "${pip_dirs[@]}" -- "${environment[@]}" </dev/null
}

# In the background, so that a signal is answered at once and not after the command.
run_in_bare_root() {
    local status=0
    enter_bare_root "$@" &
    inside=$!
    wait "$inside" || status=$?
    inside=
    return "$status"
}

if [ ! -e "$base/.bare-root" ]; then
    [ -z "$(ls -A "$base" 2>/dev/null)" ] ||
        fail "$base has something else in it: name another BARE_ROOT"
    bootstrap
fi
mkdir "$root"
cp -a "$base/." "$root"
copy_network_configuration
mapfile -t pip_dirs < <(pip_directories)
copy_working_tree

run_in_bare_root 'for absent in pip pip3 git google-chrome chromium chromedriver sudo; do
    ! command -v $absent || { echo "not bare: $absent is there"; exit 1; }
done
! python3 -c "import ensurepip" 2>/dev/null || { echo "not bare: ensurepip is there"; exit 1; }
. /etc/os-release
echo "check-bare: $PRETTY_NAME, $(python3 --version), $(make --version | head -n 1)"'

if [ -n "$user" ]; then
    echo "check-bare: root installs a browser and adds the user $user"
    run_in_bare_root "export DEBIAN_FRONTEND=noninteractive
        { apt-get -q update && apt-get -q install -y --no-install-recommends \
            python3-venv chromium chromium-driver chromium-sandbox; } >/dev/null
        useradd --home-dir $home --shell /bin/sh $user && chown -R $user:$user $home" ||
        fail "could not prepare the system for a user"
fi

failed=0
for command in "${commands[@]}"; do
    echo "check-bare: \$ $command"
    started=$SECONDS
    if run_in_bare_root "$command" "$user"; then
        echo "check-bare: passed in $((SECONDS - started)) s: $command"
    else
        echo "check-bare: FAILED with $? after $((SECONDS - started)) s: $command"
        failed=1
    fi
done
exit "$failed"
