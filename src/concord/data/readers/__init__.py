"""Readers of data sets, one file each: native layout in, manifest out."""
