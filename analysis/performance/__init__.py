"""Speed and memory: timing, counted FLOPs and measured peaks."""
