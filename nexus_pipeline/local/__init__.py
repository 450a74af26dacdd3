"""`nexus up` on one machine: its processes, and the checks of `nexus doctor`."""
