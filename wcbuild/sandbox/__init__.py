"""Where a RUN runs: namespaces, overlay, capabilities and system-call filters, without other tools."""
