"""The pipeline's stages as plain functions, in data-flow order: ingest, hydrate, derive, replicate."""
