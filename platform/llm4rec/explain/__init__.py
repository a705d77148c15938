"""Why an item is recommended: grounds, the sentence made of them, and the check that it says nothing else."""
