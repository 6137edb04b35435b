"""The command line: parse, call, render. Only here do errors become text and exit codes."""
