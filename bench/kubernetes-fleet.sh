#!/bin/sh
# Starts a fleet on real API servers for the benchmarks: kube-apiserver and etcd for the hub and each member (built from
# their Go modules), the hub, the agents and the simulated kubelets as processes. Ends when it is interrupted.
#
# Usage: bench/kubernetes-fleet.sh DIR [MEMBERS]
#
# When it says "ready", in another terminal:
#   target/release/stolos-bench propagate --kubeconfig DIR/kubeconfig
#   target/release/stolos-bench placements --placements 20 --kubeconfig DIR/kubeconfig --pids "$(cat DIR/roles/pids)"
#
# Needs Go, kubectl, and `cargo build --release -p stolos -p stolos-bench`.
set -eu
dir=$1
members=${2:-3}
cd "$(dirname "$0")/.."
stolos=target/release/stolos
mkdir -p "$dir"
processes=
stop() {
    for process in $processes; do kill "$process" 2>/dev/null || true; done
    cargo xtask kubernetes down --dir "$dir"
}
trap stop EXIT
trap 'exit 0' INT TERM

cargo xtask kubernetes up --members "$members" --dir "$dir" --detach
mkdir -p "$dir/roles"
export KUBECONFIG="$dir/kubeconfig"
names=$(seq -f 'member-%g' 1 "$members")
for name in hub $names; do
    if [ "$name" = hub ]; then role=; else role=--member; fi
    # shellcheck disable=SC2086 # no role is no argument
    "$stolos" crds $role | kubectl --context "$name" apply --server-side -f - >/dev/null
    kubectl --context "$name" wait --for=condition=Established crd --all --timeout=60s >/dev/null
    kubectl --context "$name" create namespace fleet-system >/dev/null
done

start() {
    log=$1
    shift
    "$stolos" "$@" >"$dir/roles/$log.log" 2>&1 &
    processes="$processes $!"
}
start hub hub --hub-kubeconfig "$KUBECONFIG" --hub-context hub
for name in $names; do
    kubectl --context hub -n fleet-system create serviceaccount "$name" >/dev/null
    kubectl --context hub apply -f - >/dev/null <<MEMBER
apiVersion: cluster.kubernetes-fleet.io/v1beta1
kind: MemberCluster
metadata: {name: $name}
spec:
  identity: {kind: ServiceAccount, name: $name, namespace: fleet-system, apiGroup: ""}
MEMBER
    token=$(kubectl --context hub -n fleet-system create token "$name" --duration=12h)
    kubectl --context hub config view --raw --flatten --minify >"$dir/roles/$name.kubeconfig"
    user=$(kubectl --kubeconfig "$dir/roles/$name.kubeconfig" config view -o 'jsonpath={.contexts[0].context.user}')
    kubectl --kubeconfig "$dir/roles/$name.kubeconfig" config unset "users" >/dev/null
    kubectl --kubeconfig "$dir/roles/$name.kubeconfig" config set-credentials "$user" --token "$token" >/dev/null
    start "$name-simulation" simulate --name "$name" --member-kubeconfig "$KUBECONFIG" --member-context "$name"
    start "$name" member --name "$name" --hub-kubeconfig "$dir/roles/$name.kubeconfig" \
        --member-kubeconfig "$KUBECONFIG" --member-context "$name"
done
kubectl --context hub wait --for=condition=Joined membercluster --all --timeout=60s >/dev/null
echo "$processes" | sed 's/^ //; s/ /,/g' >"$dir/roles/pids"
echo "ready: KUBECONFIG=$KUBECONFIG"
wait
