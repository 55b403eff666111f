"""Embeddings as a compressed form of images: their size in bits, and what wording they tell apart."""
