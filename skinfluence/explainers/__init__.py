"""The estimators: thin scikit-learn skins over the deletions."""
