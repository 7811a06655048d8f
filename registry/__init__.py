"""OCI nouns, stores, copying and the registry client: all that is useful without ever building."""
