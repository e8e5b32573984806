"""A style and a subject in one post: the factored basis against the other ways to ask for both."""
