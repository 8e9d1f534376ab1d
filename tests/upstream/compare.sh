#!/bin/bash
# Whether OpenSMTPD 7.6 (Debian trixie) and we accept and refuse the same configurations.
#
# For each configuration of today's grammar in fixtures/config, what "smtpd -n" of Debian's package
# says is compared with what ours says on the machine of the fixtures: NAME.ok or NAME.err. Where
# they differ on purpose, fixtures/config/upstream-7.6 has a line with the name and the reason; a
# line that is not true any more fails too. OpenBSD's interfaces are written lo for Linux.
#
# usage: compare.sh [DIRECTORY]     a chroot that is there already, to be used again
# Status 0: alike; 1: different; 2: the chroot could not be made (nobody answers, not root).
set -u
cd "$(dirname "$0")/../.." || exit 1
readonly fixtures=fixtures/config
root=${1:-}
if [ -z "$root" ]; then
	[ "$(id -u)" = 0 ] && command -v debootstrap >/dev/null || exit 2
	root=$(mktemp -d) || exit 2
	trap 'umount "$root/proc" 2>/dev/null; rm -rf --one-file-system "$root"' EXIT
	timeout 600 debootstrap --variant=minbase --include=opensmtpd trixie "$root" >"$root.log" 2>&1 </dev/null
	status=$?
	[ $status = 0 ] || tail -3 "$root.log"
	rm -f "$root.log"
	[ $status = 0 ] || exit 2
fi
[ -x "$root/usr/sbin/smtpd" ] || exit 2

# What the fixtures name: tables, users, certificates.
mkdir -p "$root/etc/mail" "$root/etc/ssl/private" "$root/check"
cp -r $fixtures/root/etc/mail/. "$root/etc/mail/"
for user in vmail mlmmj _rspamd _dkimsign _dkim; do
	chroot "$root" useradd -r "$user" 2>/dev/null
done
certificate() { # FILE
	mkdir -p "$root$(dirname "$1")"
	case $1 in
	*key*) cp fixtures/certificates/mx.key "$root$1" && chmod 600 "$root$1" ;;
	*) cp fixtures/certificates/mx.crt "$root$1" ;;
	esac
}

differ=0 alike=0
for file in $fixtures/*.conf; do
	name=$(basename "$file" .conf)
	# Not of today's grammar.
	if grep -qE '^(accept|reject|expire|limit|bounce-warn|max-message-size|ciphers) |^listen .*(certificate|mask-source)|^pki .*certificate' "$file"; then
		continue
	fi
	grep -oE '^(pki|ca) .*' "$file" | grep -oE '"?/[^ "]+' | tr -d '"' | grep -v missing |
		while read -r path; do certificate "$path"; done
	sed -E 's/\b(lo0|egress|em0)\b/lo/' "$file" >"$root/check/smtpd.conf"
	said=$(timeout 20 chroot "$root" /usr/sbin/smtpd -n -f /check/smtpd.conf 2>&1 </dev/null)
	theirs=$([ $? = 0 ] && echo accept || echo refuse)
	ours=$([ -f "$fixtures/$name.ok" ] && echo accept || echo refuse)
	listed=$(grep -E "^$name " $fixtures/upstream-7.6 2>/dev/null)
	if [ "$ours" = "$theirs" ] && [ -n "$listed" ]; then
		echo "$name: both $ours it, and upstream-7.6 says that they differ"
		differ=1
	elif [ "$ours" != "$theirs" ] && [ -z "$listed" ]; then
		echo "$name: we $ours, OpenSMTPD does $theirs: $(tail -1 <<<"$said")"
		differ=1
	else
		alike=$((alike + 1))
	fi
done
echo "$alike configurations are judged alike, or differently for a reason that is written down"
[ $alike -gt 100 ] && [ $differ = 0 ]
