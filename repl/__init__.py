"""What people type into: command line, prompt, completion, rendering."""
