"""Reading image files into arrays: the one reader, the transform, the pool of decoders and its cache."""
