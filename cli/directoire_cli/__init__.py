"""The `directoire` command: what operators do from a shell."""
