"""Items in, one frozen vector an item and modality out."""
