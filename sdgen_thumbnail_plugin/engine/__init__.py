"""What decides and does: look, plan, carry out, remember. It knows the storage protocols, no file system."""
