"""Plain data structures in arrays: no memory manager's policy, and nothing of the compiler."""
