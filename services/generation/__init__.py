"""The generation service: posts in a reader's taste, from a stock inference server and the reader's profile."""
