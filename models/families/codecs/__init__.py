"""Compressors that need no training: image codecs, block transforms and the image itself."""
