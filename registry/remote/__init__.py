"""The HTTP client for OCI distribution registries."""
