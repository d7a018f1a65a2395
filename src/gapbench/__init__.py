"""gapbench: which overfitting control for LoRA fine-tuning, on which task, and how sure."""
