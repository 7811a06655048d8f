"""Build contexts: the files that COPY and ADD may see, and digests of their content."""
