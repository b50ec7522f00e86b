"""Does merging help? Every strategy on eight small tasks, against fine-tunes, base and multi-task training."""
