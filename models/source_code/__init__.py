"""Python code that makes models: importing it by name, following its imports, hashing it."""
