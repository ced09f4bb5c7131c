"""The command lines: `mdir` and `mdir-smtp`."""
