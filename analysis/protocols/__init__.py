"""Protocols: every choice between a folder of images and a published number, named and hashed."""
