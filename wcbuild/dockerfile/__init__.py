"""The Dockerfile language: text to nodes, typed instructions, stages, and down to a graph. Pure."""
