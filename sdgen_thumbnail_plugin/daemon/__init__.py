"""The background process: watching, process control, status."""
