"""Text that users write: names, YAML, and messages about values that are not allowed."""
