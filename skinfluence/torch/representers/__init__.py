"""Networks as features and a linear layer, which representers decompose."""
