"""The verbs of `nexus`, one file for each group of them; `nexus_pipeline.cli` puts them together."""
