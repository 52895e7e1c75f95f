"""From the command line to a checked `RunConfig`: Hydra, the schema, the graph of stages, data presets."""
