"""Everything about Redis: the keys, the scripts, and what is kept under them."""
