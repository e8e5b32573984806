"""OpenAI's API of chat completions, for clients that are written against it."""
