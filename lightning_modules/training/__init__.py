"""What LightningModules share: optimizer, specs, checkpoints, Lightning's counters."""
