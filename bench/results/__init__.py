"""What a run leaves: its folder, Records and cells; how files are written whole and read again."""
