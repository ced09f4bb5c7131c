"""What users call spam: they move it to a folder, and the server learns who brought it."""
