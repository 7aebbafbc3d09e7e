"""Why: what a trace holds and what a result means."""
