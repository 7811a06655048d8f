"""Values of the OCI image specification; no I/O."""
