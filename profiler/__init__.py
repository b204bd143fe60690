"""Timing networks on a device: which ones, by which protocol, in one resumable campaign."""
