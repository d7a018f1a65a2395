"""What every room uses: errors, validation, files, seeds, processes; no models."""
