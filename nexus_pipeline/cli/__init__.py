"""The `nexus` command: one file for each verb or group of verbs."""
