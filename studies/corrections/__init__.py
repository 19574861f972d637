"""What 25 corrected knees of another hospital are worth (docs/corrections.md)."""
