"""What a program did: event schema, file format, recorder, importers, synthetic programs."""
