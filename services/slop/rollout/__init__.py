"""Which basis is live, which one follows it, and the processes that follow both."""
