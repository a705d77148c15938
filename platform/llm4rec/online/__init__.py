"""Online: the durable log of feedback and exposures, and what it changes about a user at once."""
