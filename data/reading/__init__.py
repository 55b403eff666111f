"""The way from image files to arrays: the one reader, the transform, the pool of decoders and its cache."""
