#!/usr/bin/env bash
# Start a Slurm of one node from Debian's packages (slurmd, slurmctld, slurm-client, munge).
#
#   tests/support/start_slurm.sh FOLDER
#
# Everything it writes is in FOLDER, which should be new and have a short path; nothing of the system's
# own configuration is read or changed. Commands find it by SLURM_CONF=FOLDER/slurm.conf. It has two
# partitions: `usual`, and `urgent`, whose jobs pre-empt those of the first. The numbers of its
# processes are in FOLDER/*.pid; killing them ends it.
set -euo pipefail
folder=$(realpath -m "$1")
host=$(hostname -s)
user=$(id -un)
cores=$(nproc)
mkdir -p "$folder/state" "$folder/spool" "$folder/munge"
chmod 755 "$folder"
chmod 711 "$folder/munge"

head -c 1024 /dev/urandom > "$folder/munge.key"
chmod 400 "$folder/munge.key"
munged --force --num-threads=2 --key-file="$folder/munge.key" --socket="$folder/munge/socket" \
  --pid-file="$folder/munged.pid" --log-file="$folder/munged.log" --seed-file="$folder/munge.seed"

cat > "$folder/slurm.conf" <<CONF
ClusterName=gapbench
SlurmctldHost=$host(127.0.0.1)
SlurmUser=$user
SlurmdUser=$user
AuthType=auth/munge
CredType=cred/munge
AuthInfo=socket=$folder/munge/socket,cred_expire=5
SlurmctldPort=${SLURMCTLD_PORT:-16817}
SlurmdPort=${SLURMD_PORT:-16818}
StateSaveLocation=$folder/state
SlurmdSpoolDir=$folder/spool
SlurmctldPidFile=$folder/slurmctld.pid
SlurmdPidFile=$folder/slurmd.pid
SlurmctldLogFile=$folder/slurmctld.log
SlurmdLogFile=$folder/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
ReturnToService=2
SchedulerType=sched/backfill
SchedulerParameters=bf_interval=1,sched_interval=2
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
KillWait=2
NodeName=$host NodeAddr=127.0.0.1 CPUs=$cores RealMemory=4000 State=UNKNOWN
PartitionName=usual Nodes=ALL Default=YES MaxTime=INFINITE State=UP PriorityTier=1
PartitionName=urgent Nodes=ALL MaxTime=INFINITE State=UP PriorityTier=2
CONF
export SLURM_CONF="$folder/slurm.conf"
slurmctld -i
slurmd
for _ in $(seq 100); do
  if sinfo --noheader --format=%t 2>/dev/null | grep -q idle; then
    exit 0
  fi
  sleep 0.3
done
echo "the node did not come up; see $folder/slurmctld.log and $folder/slurmd.log" >&2
tail -n 5 "$folder/slurmctld.log" "$folder/slurmd.log" >&2 || true
exit 1
