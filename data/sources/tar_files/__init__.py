"""webdataset's tar files: their index, and the images in them."""
