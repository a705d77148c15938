"""Raw files in, a clean, split, coded corpus out: the maths, one process at a time."""
