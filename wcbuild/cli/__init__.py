"""The command line: the only place that reads argv, environment and terminal, and prints."""
