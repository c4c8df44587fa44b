"""What every data module needs: order, rank and seeds, options, member batches."""
