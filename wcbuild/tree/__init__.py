"""The merged view of an image's files, read from layer headers alone, and file steps computed on it."""
