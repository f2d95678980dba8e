"""Methods of other people, as conditions: one file each, found by name; each has a `condition(**options)`."""
