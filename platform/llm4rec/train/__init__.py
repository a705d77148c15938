"""Training the recommender on one device, without a cluster."""
