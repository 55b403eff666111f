"""Third-party models: state dicts, user modules, open_clip and production architectures."""
