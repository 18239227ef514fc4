#!/bin/sh
# tools/check_clean.sh [FOLDER]: make test and make chat as a new user would, in a fresh Debian 12 made by debootstrap with
# nothing but git, make and sudo, as a user who may sudo, from a clone of the committed state. Needs root.
# FOLDER (default: a new one under $TMPDIR, removed at the end) becomes the root of that system; one that is there already
# is used again. This machine's settings for apt and pip (mirrors, certificates) are taken over.
set -eu
cd "$(dirname "$0")/.."
[ "$(id -u)" -eq 0 ] || { echo "check_clean: root is needed" >&2; exit 1; }
repository=$PWD
keep=${1:+yes}
root=${1:-$(mktemp -d "${TMPDIR:-/var/tmp}/clean.XXXXXX")}
mkdir -p "$root"
chmod 755 "$root" # mktemp makes it the root user's alone, and it becomes everybody's /
root=$(cd "$root" && pwd)

cleanup() {
    for mount in proc sys dev/pts dev; do
        ! mountpoint -q "$root/$mount" || umount "$root/$mount" 2>/dev/null || umount -l "$root/$mount"
    done
    [ -n "$keep" ] || rm -rf --one-file-system "$root"
}
trap cleanup EXIT
trap 'exit 1' INT TERM HUP

# The mirror that this machine uses itself: the first Debian one of its sources.
mirror=$(cat /etc/apt/sources.list /etc/apt/sources.list.d/*.list /etc/apt/sources.list.d/*.sources 2>/dev/null \
    | sed -nE 's/^(URIs: *|deb +(\[[^]]*\] +)?)([a-z]+:[^ ]*debian\/?)( .*)?$/\3/p' | head -n 1)
say() { printf 'check_clean: %s\n' "$*" >&2; }

if [ ! -x "$root/usr/bin/make" ]; then
    say "making a Debian 12 in $root"
    # shellcheck disable=SC2086
    debootstrap --variant=minbase --include=git,make,sudo,ca-certificates bookworm "$root" ${mirror:+"$mirror"} >"$root.debootstrap" 2>&1 \
        || { tail -n 20 "$root.debootstrap" >&2; exit 1; }
    rm -f "$root.debootstrap"
fi
mount -t proc proc "$root/proc"
mount --rbind /dev "$root/dev" && mount --make-rslave "$root/dev"

# How this machine reaches its mirrors.
mkdir -p "$root/etc/apt" "$root/usr/share/keyrings"
cp -a /etc/apt/. "$root/etc/apt/"
cp -a /usr/share/keyrings/. "$root/usr/share/keyrings/" 2>/dev/null || true
cp -aL /etc/ssl/certs/. "$root/etc/ssl/certs/" 2>/dev/null || true
for file in /etc/pip.conf /etc/resolv.conf /etc/hosts; do [ ! -f $file ] || cp -L $file "$root$file"; done
settings=$(env | grep -E '^(PIP_(INDEX_URL|EXTRA_INDEX_URL|CERT|TRUSTED_HOST|DEFAULT_TIMEOUT)|[a-z]+_proxy|[A-Z]+_PROXY|SSL_CERT_FILE|REQUESTS_CA_BUNDLE)=' || true)

chroot "$root" sh -c 'id tester >/dev/null 2>&1 || useradd -m -s /bin/bash tester
    echo "tester ALL=(ALL) NOPASSWD: ALL" >/etc/sudoers.d/tester'
rm -rf "$root/home/tester/tensorlogic"
git clone -q --no-hardlinks "$repository" "$root/home/tester/tensorlogic"
chroot "$root" chown -R tester:tester /home/tester

as_user() { # a command line, in the clone, with a new login's environment and the settings above
    # shellcheck disable=SC2086
    printf '%s\n' "$settings" | (
        set -- env -i HOME=/home/tester USER=tester PATH=/usr/local/bin:/usr/bin:/bin LC_ALL=C.UTF-8 TERM=dumb
        while IFS= read -r line; do [ -z "$line" ] || set -- "$@" "$line"; done
        exec chroot --userspec=tester:tester "$root" "$@" sh -c "cd ~/tensorlogic && $command" </dev/null
    )
}

say "make chat"
command='printf "Hello\n" | make --no-print-directory chat ARGS="--temp 0"'
as_user | tee "$root/home/tester/chat.log"
grep -qE '^Hello! (How can )?I' "$root/home/tester/chat.log" || { say "the default model did not answer as it should"; exit 1; }
say "make chat again: nothing is done twice"
started=$(date +%s)
as_user >/dev/null
say "the second call took $(($(date +%s) - started)) s"
say "make test"
command='make --no-print-directory test'
as_user
say "all is well"
