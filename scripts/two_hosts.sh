#!/usr/bin/env bash
# Trains on two hosts that are network namespaces of this machine, and cuts the cable between them:
#
#   scripts/two_hosts.sh BINARY FOLDER [ARGUMENTS OF aweigh train ...]
#
# BINARY is an aweigh built with `--features mpi`. First a run over both hosts goes to FOLDER/whole,
# to its end. Then another one goes to FOLDER/cut until its first checkpoint is there; the cable is cut
# in mid-run, and the time until all processes have ended is shown with what they say. That run then
# goes on in one process. Without arguments it trains
#
#   --config fcos_r18_bccd.toml --set train.batch_size=2 --set distributed.timeout_s=15
#
# whose two processes have the 4 images per step of that configuration. Needs root, iproute2,
# util-linux and Open MPI.
set -euo pipefail

binary=$(realpath "$1")
folder=$2
shift 2
if [ $# -eq 0 ]; then
    set -- --config fcos_r18_bccd.toml --set train.batch_size=2 --set distributed.timeout_s=15
fi
mkdir -p "$folder"
agent=$(mktemp)
clean_up() {
    ip netns pids aweigh-a 2>/dev/null | xargs -r kill -9 || true
    ip netns pids aweigh-b 2>/dev/null | xargs -r kill -9 || true
    ip netns del aweigh-a 2>/dev/null || true
    ip netns del aweigh-b 2>/dev/null || true
    rm -f "$agent"
}
trap clean_up EXIT
clean_up

# Two hosts with a cable between them.
ip netns add aweigh-a
ip netns add aweigh-b
ip link add cable-a netns aweigh-a type veth peer name cable-b netns aweigh-b
for host in a b; do
    ip -n "aweigh-$host" link set lo up
    ip -n "aweigh-$host" link set "cable-$host" up
done
ip -n aweigh-a address add 10.77.0.1/24 dev cable-a
ip -n aweigh-b address add 10.77.0.2/24 dev cable-b

# What ssh does between hosts: `agent HOST COMMAND ...`.
cat >"$agent" <<'AGENT'
#!/usr/bin/env bash
shift
exec ip netns exec aweigh-b unshare --uts sh -c 'hostname host-b; exec sh -c "$*"' sh "$@"
AGENT
chmod +x "$agent"

# Open MPI's own processes notice a cut cable by these keepalive messages; without them, after minutes.
on_both_hosts() {
    OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1 \
        ip netns exec aweigh-a unshare --uts sh -c 'hostname host-a; exec "$@"' sh \
        mpirun -n 2 --host 10.77.0.1:1,10.77.0.2:1 --bind-to none \
        --mca plm_rsh_agent "$agent" --mca btl tcp,self \
        --mca btl_tcp_if_include 10.77.0.0/24 --mca oob_tcp_if_include 10.77.0.0/24 \
        --mca oob_tcp_keepalive_time 5 --mca oob_tcp_keepalive_intvl 2 \
        --mca oob_tcp_keepalive_probes 3 \
        "$binary" "$@"
}

echo "== both hosts, to the end"
time on_both_hosts train --run-dir "$folder/whole" "$@"

echo "== both hosts, and the cable is cut"
on_both_hosts train --run-dir "$folder/cut" "$@" >"$folder/cut.log" 2>&1 &
run=$!
while [ ! -e "$folder/cut/checkpoints/last" ]; do
    kill -0 $run 2>/dev/null || { cat "$folder/cut.log"; exit 1; }
    sleep 0.2
done
ip -n aweigh-b link set cable-b down
cut=$(date +%s.%N)
wait $run && code=0 || code=$?
ended=$(date +%s.%N)
tail -n 25 "$folder/cut.log"
left=$( (ip netns pids aweigh-a; ip netns pids aweigh-b) | wc -l)
awk -v cut="$cut" -v ended="$ended" -v code="$code" -v left="$left" 'BEGIN {
    printf "ended %.1f s after the cut with exit code %d; %d processes left\n", ended - cut, code, left
}'
[ "$code" -ne 0 ]

echo "== on from the last checkpoint, in one process"
"$binary" train --resume "$folder/cut" --set train.batch_size=4
