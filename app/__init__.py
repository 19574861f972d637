"""The page of `make app`: drop a radiograph, see its landmarks, move them, save them (app/README.md)."""
