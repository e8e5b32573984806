"""A style and a subject in one post: style × subject prompts against the other ways to ask for both."""
