"""What a profile or a scored folder was made of, and whether data that is given later is the same."""
