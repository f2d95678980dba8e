"""What a page of a study shows, section by section: plain data for the templates, one section a file."""
