"""Many devices, one campaign: messages, the queue between a campaign and its agents, and its implementations."""
