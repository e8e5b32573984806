"""Soft prompts as PEFT prompt-tuning adapters, and back."""
