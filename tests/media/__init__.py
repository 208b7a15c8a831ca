"""Small media files made by code: one of every container, and one of every oddity that was met in the wild."""
