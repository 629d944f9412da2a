#!/bin/sh
# Runs a command on a pure cgroup v2 host: boots Debian's user-mode-linux (Linux 6.1, about 2 s) with this
# machine's file system as its root, runs the command as root in it, and exits with its exit code.
#
#   tests/uml/boot.sh [--mem 1G] [--disk 512M] [--timeout 300] [--] COMMAND [ARG…]
#
# In the guest: the same files, working directory and environment; /proc, /sys, /dev; cgroup2 on
# /sys/fs/cgroup; tmpfs on /run; with --disk a fresh ext4 on $UML_DISK, since neither hostfs nor tmpfs
# of 6.1 can be idmapped. Writes elsewhere reach this machine's own file system.
#
# Exit codes of its own: 77 if it cannot run here, with the reason on stderr; 124 if time ran out.
set -eu

mem=1G disk= timeout=300
while [ $# -gt 0 ]; do
    case $1 in
        --mem) mem=$2; shift 2 ;;
        --disk) disk=$2; shift 2 ;;
        --timeout) timeout=$2; shift 2 ;;
        --) shift; break ;;
        -*) echo "boot.sh: unknown option $1" >&2; exit 2 ;;
        *) break ;;
    esac
done
[ $# -gt 0 ] || { echo "boot.sh: no command" >&2; exit 2; }

skip() { echo "boot.sh: cannot run here: $1" >&2; exit 77; }
command -v linux.uml >/dev/null || skip "linux.uml is missing (apt-get install user-mode-linux)"
command -v modprobe >/dev/null || skip "modprobe is missing (apt-get install kmod)"
[ "$(id -u)" = 0 ] || skip "it needs root"

# modprobe looks below /lib/modules.
for modules in /usr/lib/uml/modules/*; do
    [ -e "/lib/modules/${modules##*/}" ] || { mkdir -p /lib/modules; ln -s "$modules" /lib/modules/; }
done

work=$(mktemp -d /tmp/uml.XXXXXX)
trap 'rm -rf "$work"' EXIT INT TERM

quoted() { for word; do printf "'%s' " "$(printf %s "$word" | sed "s/'/'\\\\''/g")"; done; }

ubd=
if [ -n "$disk" ]; then
    truncate -s "$disk" "$work/disk"
    mkfs.ext4 -q -F "$work/disk"
    ubd=ubd0=$work/disk
fi

export -p >"$work/env"
cat >"$work/init" <<INIT
#!/bin/sh
. $work/env
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin:\$PATH
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t cgroup2 cgroup2 /sys/fs/cgroup
mount -t tmpfs -o mode=755 tmpfs /run
mount -t tmpfs -o mode=755 tmpfs /dev
while read -r name mode type major minor; do
    mknod -m \$mode /dev/\$name \$type \$major \$minor
done <<NODES
null 666 c 1 3
zero 666 c 1 5
full 666 c 1 7
random 666 c 1 8
urandom 666 c 1 9
tty 666 c 5 0
console 600 c 5 1
ptmx 666 c 5 2
kmsg 600 c 1 11
fuse 666 c 10 229
NODES
ln -s /proc/self/fd /dev/fd
ln -s /proc/self/fd/0 /dev/stdin
ln -s /proc/self/fd/1 /dev/stdout
ln -s /proc/self/fd/2 /dev/stderr
mkdir /dev/pts /dev/shm /dev/net
mknod -m 666 /dev/net/tun c 10 200
mount -t devpts -o newinstance,ptmxmode=666 devpts /dev/pts
mount -t tmpfs tmpfs /dev/shm
modprobe -a ext4 overlay veth bridge nf_tables nft_masq 2>/dev/null
hostname uml
ip link set lo up 2>/dev/null
if [ -n "$ubd" ]; then
    mknod /dev/ubda b 98 0
    mkdir /run/disk
    mount -t ext4 /dev/ubda /run/disk
    export UML_DISK=/run/disk
fi
cd $(quoted "$PWD")
$(quoted "$@") </dev/null
echo \$? >$work/code
sync
halt -f
INIT
chmod +x "$work/init"

code=0
timeout -k 5 "$timeout" linux.uml "mem=$mem" rootfstype=hostfs rootflags=/ rw "init=$work/init" \
    "uml_dir=$work" umid=guest con=null con0=null,fd:1 quiet $ubd </dev/null 2>&1 || code=$?
# linux.uml returns nothing of what ran in it; without the file the guest died.
if [ -s "$work/code" ]; then exit "$(cat "$work/code")"; fi
[ "$code" = 124 ] && { echo "boot.sh: no end after $timeout s" >&2; exit 124; }
echo "boot.sh: the guest ended without a result (linux.uml: $code)" >&2
exit 1
