"""The stages that probe one model, or a whole zoo."""
