"""The families of the zoo, one file each."""
