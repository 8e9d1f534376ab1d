#!/bin/bash
# Measures this server alone: builds it and the load generator, starts it freshly for each
# standard point on a temporary folder, and prints the medians. Traffic stays on loopback.
# `peers/` beside this file compares it with other servers, with the handshakes that `tls/` makes;
# `relay/` measures relaying with TLS and the DNS, `queue/` the queue when it is full.
set -eu
usage() {
	cat <<-X
	usage: run.sh [-jqs] [-b FOLDER] [-d FOLDER] [-r RUNS] [POINT ...]
	  -b FOLDER  our programs, ready made                          (default: a release build)
	  -d FOLDER  the disk to measure: a folder of ours is made in it (default /var/tmp)
	  -r RUNS    runs of each point, printed as medians              (default 5)
	  -j         JSON, one line for each point
	  -q         a hundredth of the work: shows that it works, its figures mean nothing
	  -s         count syncs too (needs strace, and the right to trace)
	  POINT      disk open connections one large pipelined maildir idle (default: all);
	             queue: what queue-bench measures, more than ten minutes of it;
	             sealed: what compression and encryption of the queue cost, 10 KiB of text
	X
	exit "${1:-0}"
}
bin='' where=/var/tmp runs=5 json='' part=1 seconds=1 syncs=''
[ "${1:-}" = --help ] && usage
while getopts b:d:hjqr:s option; do
	case $option in
	b) bin=$(cd "$OPTARG" && pwd) ;;
	d) where=$OPTARG ;;
	j) json=--json ;;
	q) part=100 runs=1 seconds=0.1 ;;
	r) runs=$OPTARG ;;
	s) syncs=yes ;;
	h) usage ;;
	*) usage 2 >&2 ;;
	esac
done
shift $((OPTIND - 1))
[ $# -gt 0 ] || set -- disk open connections one large pipelined maildir idle
for point; do
	case $point in disk | open | connections | one | large | pipelined | maildir | idle | queue | sealed) ;;
	*) echo "run.sh: no point $point" >&2; usage 2 >&2 ;; esac
done
here=$(cd "$(dirname "$0")" && pwd)
if [ -z "$bin" ]; then
	cd "$here/../.."
	cargo build --release --quiet -p smtpd --bins
	cargo build --release --quiet -p smtpd-tests --bins
	bin=${CARGO_TARGET_DIR:-target}/release
fi
work=$(mktemp -d "$where/hermes-load.XXXXXX")
server=''
stop() {
	[ -n "$server" ] || return 0
	kill "$server" 2>/dev/null || true
	wait "$server" 2>/dev/null || true
	server=''
}
trap 'stop; rm -rf "$work"' EXIT
trap 'exit 143' INT TERM

# Is there a banner on our port?
banner() {
	local line=''
	{ read -r -t 5 line && printf 'QUIT\r\n' >&0; } 0<>"/dev/tcp/127.0.0.1/$port" || true
	[ "${line:0:3}" = 220 ]
} 2>/dev/null

# Starts the server on an empty queue, with further lines of configuration; another process may take the port we chose, so try again.
start() {
	local i
	for _ in 1 2 3 4 5; do
		port=$((20000 + RANDOM % 10000))
		rm -rf "$work/server"
		mkdir "$work/server"
		{ echo "${1:-}"; cat "$here/peers/hermes/smtpd.conf"; } >"$work/smtpd.conf"
		"$bin/smtpd" -d -f "$work/smtpd.conf" -D "port=$port" -D "dir=$work/server" \
			>"$work/log" 2>&1 </dev/null &
		server=$!
		for ((i = 0; i < 200; i++)); do
			if banner; then
				# What is measured is accepting, unless the point says otherwise.
				"$bin/smtpctl" -s "$work/server/smtpd.sock" pause mta >/dev/null
				return
			fi
			kill -0 "$server" 2>/dev/null || break
			sleep 0.05
		done
		stop
	done
	echo "run.sh: the server does not start:" >&2
	cat "$work/log" >&2
	exit 1
}

load() { # MODE SESSIONS MESSAGES [option ...]
	local mode=$1 sessions=$2 messages=$(($3 / part))
	shift 3
	[ "$messages" -ge "$sessions" ] || messages=$sessions # each session has one at least
	"$bin/smtp-load" "$mode" $json --to "127.0.0.1:$port" --pid "$server" \
		--sessions "$sessions" --messages "$messages" "$@"
}

for point; do
	if [ "$point" = disk ]; then
		"$bin/smtp-load" disk $json --dir "$work" --runs "$runs" --seconds "$seconds"
		continue
	fi
	if [ "$point" = queue ]; then
		full=--full
		[ "$part" = 1 ] || full=''
		"$bin/queue-bench" $full --programs "$bin" --dir "$work" all
		continue
	fi
	if [ "$point" = sealed ]; then
		compressed='queue compression'
		encrypted="queue encryption \"$(printf %032d 7)\""
		# In turns, so that what else the machine does falls on all alike.
		for ((run = 0; run < runs; run++)); do
			for lines in '' "$compressed" "$encrypted" "$compressed"$'\n'"$encrypted"; do
				start "$lines"
				echo "${lines:-plain}"
				load send 50 8000 --rcpt u@relay.test --size 10240 --text "$here/../../ARCHITECTURE.md"
				stop
			done
		done
		continue
	fi
	start
	held=(--rcpt u@relay.test --runs "$runs")
	case $point in
	open)
		load send 50 20000 "${held[@]}"
		[ -z "$syncs" ] || load send 50 5000 "${held[@]}" --runs 1 --strace ;;
	connections) load send 100 5000 "${held[@]}" --per-session 1 ;;
	one) load send 1 2000 "${held[@]}" ;;
	large) load send 50 300 "${held[@]}" --size 1048576 ;;
	pipelined) load send 50 20000 "${held[@]}" --pipeline ;;
	maildir)
		load send 10 5000 --runs "$runs" --rcpt bench@bench.test \
			--maildir "$work/server/mail/bench/Maildir" ;;
	idle) load idle $((10000 / part)) 1 ;;
	esac
	stop
done
