"""The command line: from argv to a Trainer, or to a command's function."""
