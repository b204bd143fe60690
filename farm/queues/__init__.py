"""Queues: a file, or a NATS server."""
