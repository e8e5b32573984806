"""Ways to go from a profile's weights to what the engine is sent."""
