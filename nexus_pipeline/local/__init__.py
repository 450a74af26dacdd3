"""`nexus up` on one machine: its processes, and the doctor that checks the machine."""
