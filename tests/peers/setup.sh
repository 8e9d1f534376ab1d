#!/bin/bash
# Makes DIR/postfix, DIR/opensmtpd and DIR/exim: a chroot each with that package of Debian, as the
# packages exclude one another. Starts nothing. What cannot be had is left out, with a line.
#
# usage: setup.sh DIR [PEER...]
# Status 0: all are there; 2: not root, no debootstrap, or nobody answers.
set -u
readonly suite=trixie dir=${1:?usage: setup.sh DIR [PEER...]}
shift
[ $# -gt 0 ] || set -- postfix opensmtpd exim
[ "$(id -u)" = 0 ] && command -v debootstrap >/dev/null || exit 2
umask 022
export DEBIAN_FRONTEND=noninteractive LC_ALL=C
mkdir -p "$dir" || exit 2
trap 'for peer in postfix opensmtpd exim; do umount "$dir/$peer/proc" 2>/dev/null; done' EXIT

# Three tries, a little apart: registries have short pauses.
retry() { # COMMAND...
	local i
	for i in 5 20 0; do
		"$@" >"$dir/log" 2>&1 </dev/null && return
		tail -3 "$dir/log"
		sleep "$i"
	done
	return 1
}

base() {
	rm -rf --one-file-system "$dir/base"
	timeout 300 debootstrap --variant=minbase --cache-dir="$dir/cache" $suite "$dir/base"
}

package() {
	case $1 in
	exim) echo exim4-daemon-light ;;
	*) echo "$1" ;;
	esac
}

mkdir -p "$dir/cache"
if [ ! -x "$dir/base/usr/bin/apt-get" ]; then
	retry base || exit 2
	printf '#!/bin/sh\nexit 101\n' >"$dir/base/usr/sbin/policy-rc.d"
	chmod +x "$dir/base/usr/sbin/policy-rc.d"
	cp /etc/resolv.conf "$dir/base/etc/"
	# How this machine reaches the registry.
	cp -r /etc/apt/apt.conf.d/. "$dir/base/etc/apt/apt.conf.d/" 2>/dev/null
fi
installed() { # PEER
	retry timeout 120 chroot "$dir/$1" apt-get -qq update &&
		retry timeout 200 chroot "$dir/$1" apt-get -qq install -y --no-install-recommends "$(package "$1")"
}

status=0
for peer; do
	root=$dir/$peer
	[ ! -e "$root" ] || continue
	cp -a "$dir/base" "$root" && printf '127.0.0.1 localhost\n' >"$root/etc/hosts" &&
		mount -t proc proc "$root/proc" && installed "$peer"
	made=$?
	umount "$root/proc" 2>/dev/null
	if [ $made != 0 ]; then
		echo "$peer could not be had"
		rm -rf --one-file-system "$root" # half a peer would be taken for one that does not work
		status=2
	fi
done
exit $status
