"""The farm's server: its folder, keys, permissions and state."""
