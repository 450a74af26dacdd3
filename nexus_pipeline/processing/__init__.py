"""Sensor, op graph and job: from the queue to settled decisions."""
