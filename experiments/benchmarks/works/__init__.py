"""Our side of each work, one file each: built from the public objects of `nlae`."""
