"""How likely posts are under soft prompts that never saw them, chosen on a half and measured on the other."""
