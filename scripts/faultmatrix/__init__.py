"""scripts/faults: runs fault tests, and shows the fault matrix and the numbers of each area."""
