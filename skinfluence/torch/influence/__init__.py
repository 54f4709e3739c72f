"""What deleting rows of a network does: one question a module."""
