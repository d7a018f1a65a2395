"""Built-in tasks and backbones, made by the project's own recipes."""
