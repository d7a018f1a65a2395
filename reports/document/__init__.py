"""The document model that page and PDF are written from."""
