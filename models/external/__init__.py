"""Third-party models: state dicts, user modules and open_clip."""
