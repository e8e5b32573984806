"""The shared domain of SLOP: contracts, profiles, basis, soft prompts, storage. It imports no service."""
