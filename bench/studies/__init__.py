"""Studies that measure latentbench itself: its gate, its errors, its memory and its speed."""
