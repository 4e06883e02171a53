#!/bin/bash
# A build server fetches 40 repositories of several sizes over SSH within a minute, one connection each, and asks for the heads of
# all of them once more.
LAB_DELAY_MS=6
. "$(dirname "$0")/../../lab.sh"; lab
outside builds 198.51.100.60
inside server 10.20.0.61
ssh-keygen -q -t ed25519 -N "" -f $tmp/host
ssh-keygen -q -t ed25519 -N "" -f $tmp/user
cp $tmp/user.pub $tmp/authorized
printf 'HostKey %s\nPidFile %s\nAuthorizedKeysFile %s\nStrictModes no\nUsePAM no\nPermitRootLogin yes\n' $tmp/host $tmp/pid $tmp/authorized >$tmp/sshd
mkdir -p /run/sshd $tmp/out
ip netns exec "$net-server" /usr/sbin/sshd -D -f $tmp/sshd &
sleep 1
export GIT_CONFIG_GLOBAL=$tmp/gitconfig GIT_AUTHOR_NAME=a GIT_AUTHOR_EMAIL=a@b GIT_COMMITTER_NAME=a GIT_COMMITTER_EMAIL=a@b
git config --global init.defaultBranch main; git config --global safe.directory '*'
for n in $(seq 40); do
	git init -q $tmp/r$n
	for f in $(seq $((n % 13 + 1))); do head -c $((n * 170 + f * 90)) /dev/urandom | base64 >$tmp/r$n/f$f; git -C $tmp/r$n add f$f; git -C $tmp/r$n commit -qm f$f; git -C $tmp/r$n branch b$f-$n; done
done
export GIT_SSH_COMMAND="ssh -q -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -i $tmp/user"
record router wan -s 128
for n in $(seq 40); do on builds git clone -q --no-checkout root@10.20.0.61:$tmp/r$n $tmp/out/r$n || true; done
for n in $(seq 40); do on builds git ls-remote -q root@10.20.0.61:$tmp/r$n >/dev/null || true; done
recorded
