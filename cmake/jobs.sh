#!/bin/sh
# How many compilers to run at once: a processor each, within the quota that a container's control group grants (cgroup
# version 2, then 1). nproc knows the affinity alone.
jobs=$(nproc)
quota=max period=1
if [ -r /sys/fs/cgroup/cpu.max ]; then
  read -r quota period < /sys/fs/cgroup/cpu.max
elif [ -r /sys/fs/cgroup/cpu/cpu.cfs_quota_us ]; then
  read -r quota < /sys/fs/cgroup/cpu/cpu.cfs_quota_us
  read -r period < /sys/fs/cgroup/cpu/cpu.cfs_period_us
fi
case $quota in
  max | -1) ;;
  *) granted=$(((quota + period - 1) / period))
     [ "$granted" -ge "$jobs" ] || jobs=$granted ;;
esac
echo "$jobs"
