"""Models whose deletions are exact: closed forms, and refits where there is none."""
