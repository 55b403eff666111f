"""A small rectified flow that is trained on codes: a learned generator, with a fixed and recorded budget."""
