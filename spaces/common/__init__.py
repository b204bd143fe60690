"""Layers that common networks have, each with all its readings in one class; see `layer.Layer`."""
