"""What LightningModules share: optimizer, specs, non-finite monitor, Lightning's counters."""
