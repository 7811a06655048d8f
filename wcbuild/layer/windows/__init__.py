"""Layers of Windows images: what their tars hold, written and read on any machine."""
