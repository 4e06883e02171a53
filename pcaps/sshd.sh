# sshd.sh: an SSH server for $tmp/user (a key) and for passwords, all of which are wrong; who logs in, who mistypes,
# what a guesser has. Sourced by make.sh after lab.sh.
password_server() {
	local d="$tmp/sshd-$1"
	mkdir -p "$d" /run/sshd
	chmod 755 "$tmp" "$d"
	[ -f "$tmp/user" ] || ssh-keygen -q -t ed25519 -N '' -f "$tmp/user"
	ssh-keygen -q -t ed25519 -N '' -f "$d/host"
	cp "$tmp/user.pub" "$d/authorized"
	printf '%s\n' "HostKey $d/host" "PidFile $d/pid" "AuthorizedKeysFile $d/authorized" "StrictModes no" "UsePAM no" \
		"PasswordAuthentication yes" "PermitRootLogin yes" "Subsystem sftp internal-sftp" >"$d/conf"
	ip netns exec "$net-$1" /usr/sbin/sshd -D -f "$d/conf" &
	seq -f 'secret%g' 1 60 >"$tmp/words"
	printf 'root\nadmin\n' >"$tmp/users"
	printf '#!/bin/sh\necho wrong$$\n' >"$tmp/ask"
	chmod 755 "$tmp/ask"
	sleep 1
}

# by_key HOST ADDRESS COMMAND...: runs a command over SSH.
by_key() {
	local h=$1 to=$2; shift 2
	on "$h" ssh -q -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -i "$tmp/user" "root@$to" "$@"
}

# mistyped HOST ADDRESS: three wrong passwords in one session.
mistyped() {
	SSH_ASKPASS="$tmp/ask" SSH_ASKPASS_REQUIRE=force DISPLAY=:0 on "$1" ssh -q -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null \
		-o NumberOfPasswordPrompts=3 -o PubkeyAuthentication=no "root@$2" true </dev/null || true
}
