//! One Cgroup over v1, hybrid and v2: limits, statistics, freeze, kill, OOM events
